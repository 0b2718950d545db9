"""Makes a library of Android load under glibc: symbol versions are blanked, two imports renamed.

The rest is `bionic_shim.c`. Only for the tests, which run TensorFlow Lite's own Java API on Linux.
"""

from __future__ import annotations

import struct
from pathlib import Path

_RENAMED = {b"sysconf": b"Sysconf", b"strerror_r": b"Strerror_r"}
_LOAD, _DYNAMIC = 1, 2
_HASH, _STRTAB, _SYMTAB = 4, 5, 6
_VERSIONS = (0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF, 0x6FFFFFFC, 0x6FFFFFFD)
_IGNORED = 0x6000000D
_SYMBOL = 24


def patch(source: Path, target: Path) -> None:
    """Write a copy of a 64-bit ELF library that asks for no symbol versions.

    Raises:
        ValueError: it is none.
    """
    data = bytearray(source.read_bytes())
    if data[:5] != b"\x7fELF\x02":
        raise ValueError(f"{source} is no 64-bit ELF file")
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, start + k * size) for k in range(count)]

    def offset(address: int) -> int:
        for kind, _, place, virtual, _, length, _, _ in headers:
            if kind == _LOAD and virtual <= address < virtual + length:
                return int(address - virtual + place)
        raise ValueError(f"{source}: address {address:#x} is in no segment")

    dynamic = next(header for header in headers if header[0] == _DYNAMIC)
    entries: dict[int, int] = {}
    for place in range(dynamic[2], dynamic[2] + dynamic[5], 16):
        tag, value = struct.unpack_from("<qQ", data, place)
        if tag == 0:
            break
        entries[tag] = value
        if tag in _VERSIONS:
            struct.pack_into("<q", data, place, _IGNORED)
    names, symbols = offset(entries[_STRTAB]), offset(entries[_SYMTAB])
    total = (names - symbols) // _SYMBOL
    if _HASH in entries:
        total = struct.unpack_from("<II", data, offset(entries[_HASH]))[1]
    for k in range(total):
        name, _, _, section = struct.unpack_from("<IBBH", data, symbols + _SYMBOL * k)
        first = names + name
        word = bytes(data[first : data.index(0, first)])
        if section == 0 and word in _RENAMED:
            data[first : first + len(word)] = _RENAMED[word]
    target.write_bytes(data)
