"""A phone that is not there: the daemon of `adbd.py` in a thread, seen by the real ``adb``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.bench.phone.adbd import Connection, FakeDevice, Faults
from tests.bench.phone.android_files import PROPS, make_files

__all__ = ["Phone"]


class Phone:
    """One fake device; `serial` is how adb calls it once it is connected."""

    def __init__(self, root: Path, **options: Any) -> None:
        root.mkdir(parents=True, exist_ok=True)
        make_files(root)
        options.setdefault("path", f"{root}/system/bin:/usr/bin:/bin")
        self.device = FakeDevice(root, dict(PROPS), **options)
        self._connections: set[Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.switch_on()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        return self.device.root

    @property
    def faults(self) -> Faults:
        return self.device.faults

    def file(self, path: str) -> Path:
        """Where a file of the device is on this machine."""
        return self.root / path.lstrip("/")

    def ours(self) -> list[str]:
        """What mobile-bench has left on the device."""
        return sorted(path.name for path in self.file("data/local/tmp").iterdir())

    def commands(self) -> list[str]:
        """Services that were opened, in order."""
        return [detail for event, detail in self.device.log if event == "open"]

    def switch_on(self) -> None:
        """Listen, on the same port as before."""
        self._server = self._do(asyncio.start_server(self._client, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def vanish(self) -> None:
        """Stop to listen and drop every connection, as a device does that is switched off."""
        self._do(self._drop())

    def close(self) -> None:
        self.vanish()
        self._do(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self.device, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _drop(self) -> None:
        if self._server:
            self._server.close()
        for connection in self._connections:
            connection.die()

    async def _finish(self) -> None:
        """Let every command end: a task that is left to the garbage collector complains there."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=4)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in callbacks

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
