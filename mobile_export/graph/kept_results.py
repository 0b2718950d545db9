"""What a model's Python code keeps from one call for the next: `functools.lru_cache`.

A table that one run fills in float32 would be read by the float64 reference, and one that capture
fills with tensors without values by everybody. Each kind of run begins and ends without them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["fresh_caches"]

_CACHE = type(functools.lru_cache(lambda: None))


@contextmanager
def fresh_caches(module: torch.nn.Module) -> Iterator[None]:
    """Empty the caches of functions that ``module`` may call, before and after.

    Those are attributes of its parts, methods of their classes, and functions of the Python modules
    that define these, without PyTorch's own.
    """
    found = _caches(module)
    _clear(found)
    try:
        yield
    finally:
        _clear([*found, *_caches(module)])  # one may have been made meanwhile


def _clear(caches: list[Any]) -> None:
    for cache in caches:
        cache.cache_clear()


def _caches(module: torch.nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    owners: dict[int, Any] = {}
    for part in module.modules():
        _collect(vars(part), found)
        for kind in type(part).__mro__:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
                owners[id(kind)] = kind
    for kind in owners.values():
        _collect(vars(kind), found)
        _collect(vars(sys.modules.get(kind.__module__, object)), found)
    return list(found.values())


def _collect(names: Any, found: dict[int, Any]) -> None:
    for value in list(names.values()):
        plain = getattr(value, "__func__", value) if isinstance(value, staticmethod) else value
        if type(plain) is _CACHE:
            found[id(plain)] = plain
