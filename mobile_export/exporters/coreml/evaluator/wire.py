"""The protobuf wire format, just enough of it to read a Core ML model.

A message is a sequence of (field number, wire type, payload). Field numbers are the part of a
protobuf schema that never changes, so reading by number is as stable as generated classes, needs no
ten-second import of coremltools, and prints nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["Message", "WireError"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a protobuf message."""


class Message:
    """One decoded level of a message; nested messages are decoded when asked for.

    Every accessor takes a field number; a missing field reads as protobuf's default.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _scan(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def numbers(self) -> list[int]:
        """The field numbers that are present."""
        return sorted(self._fields)

    def integer(self, number: int) -> int:
        """An int32, int64, bool or enum field; negative numbers are two's complement of 64 bits."""
        values = self._fields.get(number)
        return _signed(_varint_of(values[-1])) if values else 0

    def raw(self, number: int) -> bytes:
        values = self._fields.get(number)
        return _view_of(values[-1]).tobytes() if values else b""

    def text(self, number: int) -> str:
        return self.raw(number).decode()

    def texts(self, number: int) -> list[str]:
        return [_view_of(value).tobytes().decode() for value in self._fields.get(number, ())]

    def message(self, number: int) -> Message:
        """A nested message; several occurrences of a singular field are concatenated, as merged."""
        views = [_view_of(value) for value in self._fields.get(number, ())]
        return Message(views[0] if len(views) == 1 else b"".join(views))

    def messages(self, number: int) -> list[Message]:
        return [Message(_view_of(value)) for value in self._fields.get(number, ())]

    def table(self, number: int) -> dict[str, Message]:
        """A ``map<string, Message>`` field."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}

    def integers(self, number: int) -> list[int]:
        """A repeated varint field, packed or not."""
        result: list[int] = []
        for value in self._fields.get(number, ()):
            if isinstance(value, int):
                result.append(_signed(value))
                continue
            position = 0
            while position < len(value):
                item, position = _varint(value, position)
                result.append(_signed(item))
        return result

    def floats(self, number: int, code: str = "f") -> list[float]:
        """A repeated float (``code`` "f") or double ("d") field, packed or not."""
        size = struct.calcsize(code)
        result: list[float] = []
        for value in self._fields.get(number, ()):
            view = _view_of(value)
            if len(view) % size:
                raise WireError(f"{len(view)} bytes hold no whole number of floats")
            result.extend(struct.unpack(f"<{len(view) // size}{code}", view))
        return result


def _scan(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(
                f"wire type {kind} of field {number} at byte {position} is not protobuf"
            )
        if position + size > end:
            raise WireError(f"field {number} at byte {position} runs past the end of its message")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    try:
        while True:
            byte = data[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result, position
            shift += 7
            if shift > 63:
                raise WireError(f"a number at byte {position} is longer than 64 bits")
    except IndexError:
        raise WireError("the message ends inside a number") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint_of(value: int | memoryview) -> int:
    if isinstance(value, int):
        return value
    raise WireError("a number was expected, bytes were found")


def _view_of(value: int | memoryview) -> memoryview:
    if isinstance(value, memoryview):
        return value
    raise WireError("bytes were expected, a number was found")
