"""What people see of `mobile-bench`; results on stdout, messages on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...system.tables import plain_table
from ...system.terminal import escape, stderr_console, stdout_console
from ..compare import Pair
from ..devices import Found
from ..devices.device import DeviceInfo, State
from ..report import cores_text, terminal_parts
from ..runners import RUNNERS
from ..tables import Row

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

__all__ = [
    "print_devices",
    "print_notes",
    "print_pairs",
    "print_parts",
    "print_rows",
    "print_runners",
]


def print_rows(rows: Sequence[Row], left_out: Mapping[str, int] | None = None) -> None:
    """The table, why its figures are flagged, and what is not in it."""
    if rows:
        print_parts(terminal_parts(rows))
    for row in rows:
        for note in row.measurement.notes:
            file = row.measurement.artifact["file"]
            stderr_console().print(f"[yellow]note:[/] {escape(f'{file}: {note}')}")
    for flag, count in (left_out or {}).items():
        stderr_console().print(
            f"[yellow]left out:[/] {count} flagged {escape(flag.replace('_', ' '))} (--all shows)"
        )


def print_parts(parts: Iterable[RenderableType]) -> None:
    """A table with what stands above and below it, on stdout."""
    console = stdout_console()
    for part in parts:
        console.print(part)


def print_notes(notes: Iterable[str]) -> None:
    """Sentences on stderr."""
    for note in notes:
        stderr_console().print(f"[yellow]note:[/] {escape(note)}")


def print_written(path: Path) -> None:
    """That a file was written; on stderr, because stdout may be JSON."""
    stderr_console().print(f"{escape(str(path))} written")


def print_devices(rows: Sequence[tuple[Found, DeviceInfo | None, State | None]]) -> None:
    """One line per device."""
    table = plain_table("device", "name", "SoC", "cores", "OS", "memory", "now")
    for found, info, state in rows:
        if info is None:
            table.add_row(escape(found.spec), f"[yellow]{escape(found.problem or '')}[/]")
            continue
        table.add_row(
            escape(info.spec),
            escape(info.name),
            escape(info.soc or ""),
            escape(cores_text(info)),
            escape(info.os),
            "" if info.memory_mb is None else f"{info.memory_mb / 1024:.1f} GiB",
            escape(_state(state)),
        )
    stdout_console().print(table)


def _state(state: State | None) -> str:
    if state is None:
        return ""
    parts = []
    if state.temperature_c is not None:
        parts.append(f"{state.temperature_c:.0f} °C")
    if state.thermal_status is not None:
        parts.append(f"thermal status {state.thermal_status}")
    if state.battery_percent is not None:
        parts.append(f"battery {state.battery_percent:.0f} %")
    if state.load is not None:
        parts.append(f"load {state.load:.2f}")
    return ", ".join(parts)


def print_runners() -> None:
    """The table of runners."""
    titles = ("runner", "what", "formats", "devices", "backends", "needs")
    table = plain_table(*titles, spare=("what",))
    for row in RUNNERS:
        table.add_row(
            row.name,
            escape(row.title),
            ", ".join(row.formats),
            ", ".join(row.devices),
            ", ".join(row.backends),
            f"--binary {row.binary}" if row.binary else "",
        )
    stdout_console().print(table)


def print_pairs(pairs: Sequence[Pair], threshold: float) -> None:
    """Ratios with their intervals, and an answer each."""
    titles = ("baseline", "candidate", "device", "runner", "ratio", "95 %", "p", "runs", "answer")
    numbers = ("ratio", "95 %", "p")
    table = plain_table(*titles, right=numbers, spare=("runner", "device", "runs"))
    for pair in pairs:
        r = pair.result
        interval = "" if r.low is None or r.high is None else f"{r.low:.3f} to {r.high:.3f}"
        table.add_row(
            escape(pair.baseline.artifact["file"]),
            escape(pair.candidate.artifact["file"]),
            escape(pair.candidate.device.spec),
            escape(pair.candidate.runner["name"]),
            f"{r.ratio:.3f}",
            interval,
            _probability(r.p_value),
            "interleaved" if r.paired else "separate",
            _answer(pair, threshold),
        )
    stdout_console().print(table)


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _answer(pair: Pair, threshold: float) -> str:
    answer = pair.result.answer(threshold)
    if answer == "slower":
        return f"[bold red]slower by more than {threshold:.0%}[/]"
    if answer == "cannot tell":
        few = pair.result.low is None
        return f"[yellow]cannot tell{': too few starts of the process' if few else ''}[/]"
    faster = pair.result.significant and pair.result.ratio < 1
    return "[green]faster[/]" if faster else f"not slower by more than {threshold:.0%}"
