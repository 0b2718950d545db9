"""Zip archives that somebody else made: sizes are checked before anything is unpacked.

Programs and checkpoints are zip archives. One of 2 MB can unpack to gigabytes, and a member can say
that it is longer than it is; a byte that was changed shows in the checksum only if somebody looks.
"""

from __future__ import annotations

import zipfile
import zlib

from ..system.files import MIB

__all__ = ["DAMAGE", "members", "read_member", "verify_member"]

MAX_MEMBERS = 100_000
MAX_RATIO = 20
"""How many times its own size an archive may unpack to; weights compress by less than two."""
SLACK = 64 * MIB
"""What any archive may unpack to, whatever its size"""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    OSError,
    IndexError,
    KeyError,
    OverflowError,
)
"""What `zipfile` raises for damaged archives, and what the functions of this module raise."""

_CHUNK = 4 * MIB


def members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive of ``size`` bytes by name, none of them unpacked.

    Raises:
        ValueError: two have one name; there are more than `MAX_MEMBERS`; one is encrypted, or
            packed with anything but deflate; or together they are much larger than the archive.
    """
    listed = archive.infolist()
    if len(listed) > MAX_MEMBERS:
        raise ValueError(f"it has {len(listed):,} members")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in listed:
        if info.filename in found:
            raise ValueError(f"two of its members are called {info.filename!r}")
        if info.flag_bits & 1:
            raise ValueError(f"its member {info.filename!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {info.filename!r} is not packed with deflate")
        found[info.filename] = info
    total = sum(info.file_size for info in listed)
    if total > SLACK + MAX_RATIO * size:
        raise ValueError(f"its {size:,} bytes unpack to {total:,}")
    return found


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int | None = None) -> bytes:
    """The content of one member; its length and checksum are right.

    Raises:
        ValueError: it is longer than ``limit`` bytes, or shorter than it says.
        zipfile.BadZipFile: its checksum (CRC-32) is wrong.
    """
    if limit is not None and info.file_size > limit:
        raise ValueError(
            f"its member {info.filename!r} is {info.file_size:,} bytes long; {limit:,} are read"
        )
    content = archive.read(info)
    if len(content) != info.file_size:
        raise ValueError(f"its member {info.filename!r} is shorter than it says")
    return content


def verify_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a member once, in pieces, and compare its length and checksum.

    Raises:
        ValueError: it is shorter than it says.
        zipfile.BadZipFile: its checksum (CRC-32) is wrong.
    """
    length = 0
    with archive.open(info) as file:
        while chunk := file.read(_CHUNK):
            length += len(chunk)
    if length != info.file_size:
        raise ValueError(f"its member {info.filename!r} is shorter than it says")
