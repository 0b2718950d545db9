"""Damage as files get it, and as strangers make it: seeded, so that a failure can be repeated."""

from __future__ import annotations

import random

__all__ = ["damaged"]

_HUGE = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8)


def damaged(content: bytes, seed: int) -> bytes:
    """``content`` with one to three kinds of damage."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if not data:
            break
        rng.choice((_flip, _truncate, _swap, _insert, _zero, _huge, _head))(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _swap(data: bytearray, rng: random.Random) -> None:
    size = min(len(data) // 2, rng.choice((1, 4, 64, 1000)))
    a, b = (rng.randrange(len(data) - size + 1) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def _insert(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.choice((1, 4, 100)))


def _zero(data: bytearray, rng: random.Random) -> None:
    size = min(len(data), rng.choice((4, 16, 200)))
    place = rng.randrange(len(data) - size + 1)
    data[place : place + size] = bytes(size)


def _huge(data: bytearray, rng: random.Random) -> None:
    value = rng.choice(_HUGE)
    place = rng.randrange(0, max(1, len(data) - len(value)), 4 if len(data) > 16 else 1)
    data[place : place + len(value)] = value


def _head(data: bytearray, rng: random.Random) -> None:
    """Where formats keep counts and offsets."""
    for _ in range(4):
        data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
