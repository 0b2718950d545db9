"""A test double of adbd, the daemon on an Android device, over TCP (standard library only).

It speaks enough of the protocol for the real ``adb`` client: shell (with and without shell_v2),
exec and sync (STAT LST2 STA2 LIST LIS2 SEND RECV QUIT). It has no TLS, pty, delayed_ack or
sendrecv_v2. The protocol: packages/modules/adb, protocol.txt and SYNC.TXT, in AOSP.

`Faults` are what can go wrong on a real device; a test sets them while the daemon runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

A_AUTH, A_CLSE, A_CNXN, A_OKAY, A_OPEN, A_WRTE = (
    struct.unpack("<I", name)[0] for name in (b"AUTH", b"CLSE", b"CNXN", b"OKAY", b"OPEN", b"WRTE")
)
AUTH_TOKEN = 1
VERSION = 0x01000001
MAX_PAYLOAD = 1 << 20
MAX_SYNC = 64 * 1024
FEATURES = (
    "shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir", "fixed_push_symlink_timestamp",
)  # fmt: skip
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


@dataclass
class Faults:
    """What the device does wrong from now on.

    Attributes:
        unauthorized: it never accepts the computer's key.
        mute: it accepts the connection and never answers.
        die_after_pushed: it vanishes once it has received so many bytes of a file.
        die_in_command: it vanishes a moment after it began a command that matches.
        full_after: bytes that still fit on it.
    """

    unauthorized: bool = False
    mute: bool = False
    die_after_pushed: int | None = None
    die_in_command: str | None = None
    full_after: int | None = None


@dataclass
class FakeDevice:
    """What the daemon serves.

    Attributes:
        root: folder that is the device's file system.
        wrapper: words before ``sh -c COMMAND`` (`sandbox.py`); without it, commands run on this
            machine with the device's paths replaced by those under ``root``.
        path: PATH of commands.
        log: (event, detail) in the order they came.
    """

    root: Path
    props: dict[str, str]
    wrapper: tuple[str, ...] = ()
    path: str = "/system/bin:/usr/bin:/bin"
    features: tuple[str, ...] = FEATURES
    faults: Faults = field(default_factory=Faults)
    log: list[tuple[str, str]] = field(default_factory=list)

    def local(self, path: str) -> Path:
        """Where a file of the device is; ``..`` and symlinks cannot leave the root."""
        full = Path(os.path.realpath(f"{self.root}/{os.path.normpath('/' + path)}"))
        if not full.is_relative_to(os.path.realpath(self.root)):
            raise PermissionError(13, "outside the sandbox")
        return full

    def command(self, text: str) -> list[str]:
        """The process that runs a shell command of the device."""
        if self.wrapper:
            return [*self.wrapper, "sh", "-c", text]
        mapped = re.sub(r"/(data/local/tmp|sys/devices|proc(?!/\$\$))\b", rf"{self.root}/\1", text)
        return ["sh", "-c", mapped]

    def unmapped(self, output: bytes) -> bytes:
        """What a command printed, with the device's paths again."""
        return output if self.wrapper else output.replace(os.fsencode(self.root), b"")


class Closed(Exception):
    """The other side closed the stream."""


class Stream:
    """One of many streams of a connection; OKAY goes out when the payload is consumed."""

    def __init__(self, connection: Connection, local_id: int, remote_id: int) -> None:
        self.connection, self.local_id, self.remote_id = connection, local_id, remote_id
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.buffer = b""
        self.acknowledged = asyncio.Event()
        self.closed = False

    async def read_some(self) -> bytes:
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        received = None if self.closed and self.queue.empty() else await self.queue.get()
        if received is None:
            raise Closed
        await self.connection.send(A_OKAY, self.local_id, self.remote_id)
        return received

    async def read(self, count: int) -> bytes:
        data, self.buffer = self.buffer, b""
        while len(data) < count:
            data += await self.read_some()
        self.buffer = data[count:]
        return data[:count]

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), self.connection.max_payload):
            if self.closed:
                raise Closed
            self.acknowledged.clear()
            part = data[start : start + self.connection.max_payload]
            await self.connection.send(A_WRTE, self.local_id, self.remote_id, part)
            await self.acknowledged.wait()
            if self.closed:
                raise Closed

    def on_close(self) -> None:
        self.closed = True
        self.queue.put_nowait(None)
        self.acknowledged.set()


class Connection:
    """One transport: the adb server of the computer."""

    def __init__(
        self, device: FakeDevice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.device, self.reader, self.writer = device, reader, writer
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.next_id, self.max_payload, self.checksum = 1, 4096, True

    async def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        check = sum(data) & 0xFFFFFFFF if self.checksum else 0
        head = struct.pack("<6I", command, arg0, arg1, len(data), check, command ^ 0xFFFFFFFF)
        self.writer.write(head + data)
        await self.writer.drain()

    async def run(self) -> None:
        try:
            while True:
                head = struct.unpack("<6I", await self.reader.readexactly(24))
                command, arg0, arg1, length, _, magic = head
                if magic != command ^ 0xFFFFFFFF or length > MAX_PAYLOAD:
                    raise ConnectionError("bad header")
                data = await self.reader.readexactly(length) if length else b""
                await self.dispatch(command, arg0, arg1, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for stream in self.streams.values():
                stream.on_close()
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def die(self) -> None:
        """Vanish, as a device does whose cable is pulled."""
        self.writer.transport.abort()

    async def dispatch(self, command: int, arg0: int, arg1: int, data: bytes) -> None:
        faults = self.device.faults
        if faults.mute:
            return
        if faults.unauthorized and command in (A_CNXN, A_AUTH):
            await self.send(A_AUTH, AUTH_TOKEN, 0, bytes(20))
        elif command == A_CNXN:
            self.max_payload = min(arg1, MAX_PAYLOAD)
            names = ("ro.product.name", "ro.product.model", "ro.product.device")
            banner = "".join(f"{name}={self.device.props.get(name, '')};" for name in names)
            banner = f"device::{banner}features={','.join(self.device.features)}"
            await self.send(A_CNXN, VERSION, MAX_PAYLOAD, banner.encode())
            self.checksum = arg0 < VERSION
        elif command == A_OPEN:
            stream = Stream(self, self.next_id, arg0)
            self.next_id += 1
            self.streams[stream.local_id] = stream
            service = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            task = asyncio.ensure_future(self.serve(stream, service))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif command == A_WRTE and arg1 in self.streams:
            self.streams[arg1].queue.put_nowait(data)
        elif command == A_OKAY and arg1 in self.streams:
            self.streams[arg1].acknowledged.set()
        elif command == A_CLSE and arg1 in self.streams:
            self.streams.pop(arg1).on_close()

    async def serve(self, stream: Stream, service: str) -> None:
        self.device.log.append(("open", service))
        handler = self.handler(service)
        try:
            if handler:
                await self.send(A_OKAY, stream.local_id, stream.remote_id)
                await handler(stream)
        except (Closed, ConnectionError):
            pass
        finally:
            self.streams.pop(stream.local_id, None)
            if not self.writer.is_closing():
                await self.send(A_CLSE, stream.local_id if handler else 0, stream.remote_id)

    def handler(self, service: str) -> Callable[[Stream], Awaitable[None]] | None:
        name, _, argument = service.partition(":")
        kind, *options = name.split(",")
        if kind == "shell":
            return Shell(self, argument, packets="v2" in options).serve
        if kind == "exec":
            return Shell(self, argument, packets=False).serve
        return Sync(self).serve if name == "sync" else None


class Shell:
    """One command; with ``packets`` (shell_v2) stdout, stderr and the exit code are told apart."""

    def __init__(self, connection: Connection, command: str, *, packets: bool) -> None:
        self.connection, self.device = connection, connection.device
        self.command, self.packets = command, packets

    async def serve(self, stream: Stream) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self.device.command(self.command),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe if self.packets else asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={
                "PATH": self.device.path,
                "FAKE_ROOT": "" if self.device.wrapper else str(self.device.root),
                "LC_ALL": "C",
            },
        )
        pattern = self.device.faults.die_in_command
        if pattern and re.search(pattern, self.command):
            asyncio.get_running_loop().call_later(0.3, self.connection.die)
        feeder = asyncio.ensure_future(self.feed(stream, process))
        try:
            assert process.stdout
            pumps = [self.pump(stream, process.stdout, STDOUT)]
            if process.stderr:
                pumps.append(self.pump(stream, process.stderr, STDERR))
            await asyncio.gather(*pumps)
            code = await process.wait()
            self.device.log.append(("exit", str(code)))
            if self.packets:
                code = (code if code >= 0 else 128 - code) & 255
                await stream.write(struct.pack("<BIB", EXIT, 1, code))
        finally:
            await self.end(feeder, process)

    async def end(self, feeder: asyncio.Future[None], process: asyncio.subprocess.Process) -> None:
        """Like adbd: the command loses its pipes; it lives on until it notices."""
        feeder.cancel()
        try:
            if process.stdin:
                process.stdin.close()
            if process.returncode is None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), 2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        finally:
            process._transport.close()  # kills what is left; asyncio has no public way

    async def pump(self, stream: Stream, pipe: asyncio.StreamReader, kind: int) -> None:
        while data := await pipe.read(MAX_SYNC):
            data = self.device.unmapped(data)
            packet = struct.pack("<BI", kind, len(data)) + data
            await stream.write(packet if self.packets else data)

    async def feed(self, stream: Stream, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        try:
            while True:
                if self.packets:
                    kind, length = struct.unpack("<BI", await stream.read(5))
                    data = await stream.read(length)
                else:
                    kind, data = STDIN, await stream.read_some()
                if kind == CLOSE_STDIN:
                    process.stdin.close()
                elif kind == STDIN:
                    process.stdin.write(data)
                    await process.stdin.drain()
        except (Closed, ConnectionError, RuntimeError):
            process.stdin.close()


class Sync:
    """File transfer."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.device = connection, connection.device

    async def serve(self, stream: Stream) -> None:
        handlers = {
            b"STAT": self.stat_v1, b"STA2": self.stat_v2, b"LST2": self.lstat_v2,
            b"LIST": self.list_v1, b"LIS2": self.list_v2,
            b"SEND": self.receive_file, b"RECV": self.send_file,
        }  # fmt: skip
        while True:
            request, length = struct.unpack("<4sI", await stream.read(8))
            if request == b"QUIT":
                return
            argument = (await stream.read(length)).decode("utf-8", "surrogateescape")
            self.device.log.append((request.decode(), argument))
            if request not in handlers:
                await self.fail(stream, f"unknown request {request!r}")
                return
            try:
                await handlers[request](stream, argument)
            except OSError as error:
                await self.fail(stream, error.strerror or str(error))

    async def fail(self, stream: Stream, message: str) -> None:
        await stream.write(struct.pack("<4sI", b"FAIL", len(message)) + message.encode())

    async def stat_v1(self, stream: Stream, path: str) -> None:
        try:
            facts = self.device.local(path).lstat()
            values = (facts.st_mode, facts.st_size & 0xFFFFFFFF, int(facts.st_mtime))
        except OSError:
            values = (0, 0, 0)
        await stream.write(struct.pack("<4s3I", b"STAT", *values))

    @staticmethod
    def packed(request: bytes, facts: os.stat_result | None = None, error: int = 0) -> bytes:
        names = ["dev", "ino", "mode", "nlink", "uid", "gid", "size", "atime", "mtime", "ctime"]
        values = [int(getattr(facts, f"st_{name}")) if facts else 0 for name in names]
        return struct.pack("<4sIQQ4IQ3q", request, error, *values)

    async def stat_v2(self, stream: Stream, path: str) -> None:
        await self.answer_stat(stream, path, b"STA2", follow=True)

    async def lstat_v2(self, stream: Stream, path: str) -> None:
        await self.answer_stat(stream, path, b"LST2", follow=False)

    async def answer_stat(self, stream: Stream, path: str, name: bytes, *, follow: bool) -> None:
        try:
            message = self.packed(name, self.device.local(path).stat(follow_symlinks=follow))
        except OSError as error:
            message = self.packed(name, None, error.errno or 5)
        await stream.write(message)

    async def list_v1(self, stream: Stream, path: str, *, v2: bool = False) -> None:
        listing = b""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.device.local(path)):
                facts, name = entry.stat(follow_symlinks=False), os.fsencode(entry.name)
                v1 = (b"DENT", facts.st_mode, facts.st_size & 0xFFFFFFFF, int(facts.st_mtime))
                listing += self.packed(b"DNT2", facts) if v2 else struct.pack("<4s3I", *v1)
                listing += struct.pack("<I", len(name)) + name
        done = self.packed(b"DONE") if v2 else struct.pack("<4s3I", b"DONE", 0, 0, 0)
        await stream.write(listing + done + bytes(4))

    async def list_v2(self, stream: Stream, path: str) -> None:
        await self.list_v1(stream, path, v2=True)

    async def receive_file(self, stream: Stream, argument: str) -> None:
        """``adb push``. After an error the rest is read all the same: the client streams on."""
        path, _, mode_text = argument.rpartition(",")
        mode, error, received = int(mode_text), "", 0
        full = self.device.local(path)
        full.parent.mkdir(parents=True, exist_ok=True)
        assert stat.S_ISREG(mode) or not stat.S_IFMT(mode)
        with full.open("wb") as file:
            while True:
                request, length = struct.unpack("<4sI", await stream.read(8))
                if request == b"DONE":
                    break
                data = await stream.read(length)
                received += length
                error = error or self.refuse(received)
                if not error:
                    file.write(data)
        if error:
            full.unlink()
            await self.fail(stream, error)
            return
        full.chmod(mode & 0o777)
        os.utime(full, (length, length))
        self.occupy(received)
        await stream.write(struct.pack("<4sI", b"OKAY", 0))

    def refuse(self, received: int) -> str:
        faults = self.device.faults
        if faults.die_after_pushed is not None and received > faults.die_after_pushed:
            self.connection.die()
        if faults.full_after is not None and received > faults.full_after:
            return "write failed: No space left on device"
        return ""

    def occupy(self, count: int) -> None:
        if self.device.faults.full_after is not None:
            self.device.faults.full_after -= count

    async def send_file(self, stream: Stream, path: str) -> None:
        """``adb pull``."""
        with self.device.local(path).open("rb") as file:
            while data := file.read(MAX_SYNC):
                await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
        await stream.write(struct.pack("<4sI", b"DONE", 0))
