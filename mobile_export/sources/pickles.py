"""What the opcodes of a pickle would cost, found out before anybody obeys them.

``weights_only=True`` runs no code, but a pickle of 200 bytes can still ask for a bytearray that
fills the memory, or for a key whose hash takes years: tuples of tuples, each twice the one before.
"""

from __future__ import annotations

import itertools
import pickletools
from typing import IO, Any

__all__ = ["check_pickle"]

_MOST_LEAVES = 2**20
"""Of a tuple, counted as often as its hash visits them."""
_DEEPEST = 100
"""Tuples in each other; a hash goes down by recursion in C."""
_MOST_BYTES = 2**26
"""Of a bytearray that is asked for by its length."""
_LONGEST_NUMBER = 512
"""Bits; torch.save writes none longer than 64."""
_MOST_STEPS = 2**22
"""Opcodes; a state dict has about 50 for each of its tensors, and each takes microseconds."""
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_MARK = pickletools.markobject


class _Tuple:
    """A tuple on the stack: its depth, leaves counted with repetition, and largest integer."""

    def __init__(self, items: list[Any]) -> None:
        inner = [item for item in items if isinstance(item, _Tuple)]
        self.depth: int = 1 + max((each.depth for each in inner), default=0)
        self.leaves: int = 1 + len(items) - len(inner) + sum(each.leaves for each in inner)
        self.largest: int = max((item for item in items if isinstance(item, int)), default=0)
        if self.leaves > _MOST_LEAVES or self.depth > _DEEPEST:
            raise ValueError(
                f"a tuple in its pickle unfolds to more than {_MOST_LEAVES:,} items, or is nested "
                f"more than {_DEEPEST} deep"
            )


def check_pickle(file: IO[bytes]) -> None:
    """Follow the stack of the next pickle in ``file``, without building anything.

    A pickle that breaks off, or is none, is left to its reader.

    Raises:
        ValueError: a tuple in it unfolds to too many items, a bytearray would be too large, a
            number is very long, or it has too many opcodes.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    operations = pickletools.genops(file)
    for step in itertools.count():
        if step > _MOST_STEPS:
            raise ValueError(f"its pickle has more than {_MOST_STEPS:,} opcodes")
        try:
            opcode, argument, _ = next(operations)
        except Exception:  # noqa: BLE001 - StopIteration, or whatever broken pickles provoke
            return
        name = opcode.name
        if isinstance(argument, int) and argument.bit_length() > _LONGEST_NUMBER:
            raise ValueError(f"a number in its pickle has {argument.bit_length():,} bits")
        if "PUT" in name or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1] if stack else None
            continue
        if "GET" in name:
            stack.append(memo.get(argument))
            continue
        taken = _take(stack, opcode.stack_before)
        stack.extend(_made(name, argument, taken, opcode.stack_after))


def _take(stack: list[Any], before: list[Any]) -> list[Any]:
    """Take from the stack what an opcode takes; a mark takes all that lies on it."""
    if _MARK in before:
        taken: list[Any] = []
        while stack:
            item = stack.pop()
            if item is _MARK:
                break
            taken.append(item)
        below = before.index(_MARK)
    else:
        taken, below = [], len(before)
    for _ in range(min(below, len(stack))):
        taken.append(stack.pop())
    return taken[::-1]


def _made(name: str, argument: Any, taken: list[Any], after: list[Any]) -> list[Any]:
    """What an opcode puts on the stack."""
    if name in _TUPLES:
        return [_Tuple(taken)]
    if name == "MARK":
        return [_MARK]
    if name == "GLOBAL":
        return [argument]
    if name == "REDUCE" and len(taken) == 2:
        called, given = taken
        asked = given.largest if isinstance(given, _Tuple) else 0
        if str(called).endswith(" bytearray") and asked > _MOST_BYTES:
            raise ValueError(f"its pickle asks for a bytearray of {asked:,} bytes")
    if isinstance(argument, int) and len(after) == 1:
        return [argument]
    if len(after) == 1 and len(taken) and not name.startswith(("REDUCE", "BUILD", "NEW", "OBJ")):
        return [taken[0]]  # SETITEM, APPEND and the like give back what they fill
    return [None] * len(after)
