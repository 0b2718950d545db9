"""Records that a sample app wrote on a phone, read into the store.

The app writes lines of the store itself (`record.Measurement`), so there is one format; what is
read is checked as the store's own lines are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..system.files import MIB, read_regular_file
from . import store
from .record import Measurement

__all__ = ["Imported", "import_records"]

_MOST_BYTES = 256 * MIB


@dataclass(frozen=True)
class Imported:
    """What became of a file.

    Attributes:
        added: measurements that are in the store now.
        known: how many were there before.
        notes: of the store.
    """

    added: tuple[Measurement, ...]
    known: int
    notes: tuple[str, ...]


def import_records(file: Path, target: Path) -> Imported:
    """Append the measurements of ``file`` to a store; those that it has already are left out.

    Raises:
        StoreError: a line is no measurement, or the store cannot be written; in the first case
            nothing was added.
    """
    found = _read(file)
    store.require_store(target)
    have = {_key(each) for each in store.read(target).measurements}
    new = [each for each in found if _key(each) not in have]
    notes: list[str] = []
    for each in new:
        notes += store.append(target, each)
    return Imported(tuple(new), len(found) - len(new), tuple(notes))


def _read(file: Path) -> list[Measurement]:
    found = []
    content = read_regular_file(file, limit=_MOST_BYTES, error=StoreError)
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(Measurement.from_json(line))
        except StoreError as error:
            raise StoreError(
                f"Line {number} of {file} {error.message}; nothing was imported.",
                hint="Give the file that the app's Benchmark button wrote, as it is.",
            ) from None
    if not found:
        raise StoreError(
            f"{file} holds no measurement.",
            hint="Give the file that the app's Benchmark button wrote.",
        )
    return found


def _key(of: Measurement) -> tuple[object, ...]:
    """What tells two measurements apart."""
    return of.run, of.time, of.artifact["sha256"], of.runner["name"], of.runner["backend"]
