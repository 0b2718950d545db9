"""Are the numbers that a file stores those of the proven program?

Outputs do not show everything: what a unit that no input of the check opens is multiplied by can be
anything, and float16 allows what 2 % more in one layer does. So every array of floats in a file is
looked up among the constants that its writer was given, rounded as the file's type is, in any order
of its elements: converters turn, flip, cut and join weights, which changes no number.

An array is known where a constant has exactly its numbers, or where along one of its axes all its
rows are rows of constants or constants (a converter that joins three linear layers, or an LSTM's
two directions), or where each of its numbers is in a constant of one axis (joined biases). What is
left was computed by the converter or is damage. It is damage, as far as anybody can tell, where a
constant that the file lacks is almost the same: half of its numbers are equal, or they are all
larger by one factor. A converter that folds one layer into another makes numbers that are like
none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from .report import ParityReport, listed

__all__ = ["Unknown", "known_constants", "unknown_weights", "with_stored_weights"]

_LEAST = 16
"""Elements of an array that is looked up; fewer are pads, factors and shapes."""

_LEAST_OF_ROW = 8
_FEW = 2
"""So many distinct numbers a mask, a bias of zeros or a fill has, which converters make."""

_FIRST = 256
"""So many numbers are looked at before all are."""

_EQUAL = 0.5
"""Share of equal numbers, without zeros in both, from which a constant is almost an array."""

_ONE_FACTOR = 2.0**-9
"""How little the factor between an array and a constant may vary to be one: a step of float16 on
each side."""

_ROUNDING = {2: 2.0**-9, 4: 2.0**-20, 8: 2.0**-40}
"""Of a number, by the bytes of its type: what a converter that computes with it may change. And of
the largest number what float32 changes: sines are differences near their zeros."""

_LARGEST_FACTOR = 1.25
"""A converter that folds a factor into weights folds one that is not near 1."""

_LARGE = 0.1
"""Of the largest magnitude: smaller numbers may be coarse in float16."""


class Unknown(NamedTuple):
    """An array of a file whose numbers are not those of the program.

    Attributes:
        name: several arrays of a layer may have one.
        difference: from a constant that is almost the same, in words; None: there is no such.
    """

    name: str
    difference: str | None


_Key = tuple[str, int, int]
_MIX = np.uint64(0x9E3779B97F4A7C15)


def known_constants(values: Iterable[object]) -> list[np.ndarray]:
    """Every array of numbers in ``values``: tensors, arrays, and what mappings, sequences and
    dataclasses hold. Integers are stored as floats where a model makes them so."""
    found: dict[int, np.ndarray] = {}
    for array in _arrays(values):
        if array.dtype.kind in "fiu":
            found[id(array)] = array
    return list(found.values())


def _arrays(value: object) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif hasattr(value, "detach"):
        yield value.detach().numpy()
    elif isinstance(value, Mapping):
        yield from _arrays(list(value.values()))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _arrays([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            yield from _arrays(each)


def unknown_weights(
    stored: Iterable[tuple[str, np.ndarray]], constants: Iterable[np.ndarray]
) -> tuple[tuple[Unknown, ...], int]:
    """The arrays of a file whose numbers are not those of the program.

    Args:
        stored: name and content of each array of floats.
        constants: what the writer was given, as float32 or float64.

    Returns:
        Those arrays, and how many were looked up.
    """
    kept = [each for each in constants if each.size]
    arrays = [
        (name, np.asarray(array))
        for name, array in stored
        if array.dtype.kind == "f" and array.size >= _LEAST and _is_various(array)
    ]
    used = {_key(array) for _, array in arrays}
    types = {array.dtype for _, array in arrays}
    if _are_all_known(used, kept, types):
        return (), len(arrays)
    keys = [{key for dtype in types for key in _whole(each, dtype)} for each in kept]
    whole = set().union(*keys)
    left = [(name, array) for name, array in arrays if _key(array) not in whole]
    if not left:
        return (), len(arrays)
    rows = {dtype: _rows_of(kept, dtype) for dtype in types}
    left = [(name, array) for name, array in left if not _is_cut(array, *rows[array.dtype])]
    missing = [each for each, own in zip(kept, keys, strict=True) if used.isdisjoint(own)]
    found = [Unknown(name, _difference(array, missing)) for name, array in left]
    return tuple(each for each in found if each.difference != _ROUNDED), len(arrays)


def _are_all_known(
    used: Collection[_Key], constants: Sequence[np.ndarray], types: Collection[np.dtype]
) -> bool:
    """Whether every array is a constant, which is so of most files: the last constants are looked
    at first (layers, which are what such files hold), and no more of them than it takes."""
    left = set(used)
    sizes = {size for _, size, _ in used}
    for constant in reversed(constants):
        if not left:
            break
        if constant.size in sizes:
            for dtype in types:
                found = next((key for key in _whole(constant, dtype) if key in used), None)
                left -= {found} if found is not None else set()
    return not left


def with_stored_weights(
    report: ParityReport, stored: Iterable[tuple[str, np.ndarray]], constants: Iterable[np.ndarray]
) -> ParityReport:
    """``report``, with what the numbers that the file stores say.

    A file that passed is inconclusive where they are almost the program's and are not: nobody can
    tell by its outputs. Arrays that a converter computed are only named.
    """
    unknown, count = unknown_weights(stored, constants)
    wrong = [f"{each.name} ({each.difference})" for each in unknown if each.difference]
    computed = [each.name for each in unknown if not each.difference]
    notes = report.notes
    if computed:
        notes = (
            *notes,
            f"of {count} stored arrays {len(computed)} hold numbers that the converter computed, "
            f"which outputs alone judge: {listed(computed)}",
        )
    if not wrong:
        return replace(report, notes=notes)
    note = (
        f"inconclusive: the file stores other numbers than the model has: {listed(wrong)}. The "
        "outputs for the inputs of the check do not show it. Please report the model."
    )
    status = "inconclusive" if report.status == "passed" else report.status
    return replace(report, status=status, notes=(*notes, note))


def _is_various(array: np.ndarray) -> bool:
    """Whether it has more than a few distinct numbers; looks at the first ones first."""
    flat = array.reshape(-1)
    return np.unique(flat[:64]).size > _FEW or np.unique(flat).size > _FEW


def _whole(constant: np.ndarray, dtype: np.dtype) -> Iterator[_Key]:
    return map(_key, _forms(constant, dtype))


def _forms(constant: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """A constant as a file has it: rounded once or, of float64 to float16, through float32; numbers
    that are rounded to float16 may also be stored as float32."""
    with np.errstate(over="ignore"):
        yield constant.astype(dtype)
        half = constant.astype(np.float16)
        if dtype != np.float16:
            yield half.astype(dtype)
        if constant.dtype == np.float64:
            yield constant.astype(np.float32).astype(np.float16).astype(dtype)


def _key(array: np.ndarray) -> _Key:
    """The same for every order of the same numbers."""
    return (array.dtype.str, array.size, int(_mixed(array).sum(dtype=np.uint64)))


def _mixed(array: np.ndarray) -> np.ndarray:
    """Each number as 64 bits that depend on all its bits (the finaliser of SplitMix64)."""
    plain = np.ascontiguousarray(array) + array.dtype.type(0)  # no negative zero
    bits = plain.view(f"u{array.dtype.itemsize}").astype(np.uint64)
    bits = (bits + np.uint64(1)) * _MIX
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed


def _rows(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Along each axis, the length of its rows and a key of each, the same for every order."""
    mixed = _mixed(array)
    for axis in range(array.ndim):
        others = tuple(other for other in range(array.ndim) if other != axis)
        yield array.size // array.shape[axis], mixed.sum(others, dtype=np.uint64)


def _rows_of(
    constants: Iterable[np.ndarray], dtype: np.dtype
) -> tuple[dict[int, set[int]], set[int]]:
    """By length, the keys of all rows of constants; and of the numbers of those with one axis."""
    rows: dict[int, set[int]] = {}
    numbers: set[int] = set()
    for constant in constants:
        for form in _forms(constant, dtype):
            rows.setdefault(form.size, set()).add(_key(form)[-1])  # it may be a row as it is
            if form.ndim == 1:
                numbers.update(_mixed(form).tolist())
            for length, keys in _rows(form) if form.ndim > 1 else ():
                rows.setdefault(length, set()).update(keys.tolist())
    return rows, numbers


def _is_cut(array: np.ndarray, rows: dict[int, set[int]], numbers: set[int]) -> bool:
    """Whether it was cut from constants, or is constants joined."""
    first = _mixed(array.reshape(-1)[:_FIRST])  # a set of millions is built where these are in it
    if set(first.tolist()) <= numbers and set(_mixed(array).reshape(-1).tolist()) <= numbers:
        return True
    return any(
        length >= _LEAST_OF_ROW and set(keys.tolist()) <= rows.get(length, set())
        for length, keys in _rows(array)
    )


_ROUNDED = "rounded otherwise"


def _rounding(array: np.ndarray) -> float:
    """Of `_ROUNDING`; float16 numbers may be read as float32."""
    with np.errstate(over="ignore"):
        half = np.array_equal(array.astype(np.float16), array)
    return _ROUNDING[2 if half else array.dtype.itemsize]


def _difference(array: np.ndarray, missing: Iterable[np.ndarray]) -> str | None:
    """How it differs from a constant that is almost the same, in words; None: there is no such.

    Number by number, in every order of the axes: by chance float16 arrays share most numbers.
    `_ROUNDED`: no number differs by more than a converter's own rounding.
    """
    got, step = array.reshape(-1), _rounding(array)
    alike = [each for each in missing if each.size == array.size]
    for form in (form for each in alike for form in _forms(each, array.dtype)):
        for wanted in _turned(form):
            counted = (got != 0) | (wanted != 0)  # zeros stay where a factor is folded
            least = min(step, _ROUNDING[4]) * float(np.abs(wanted).max())
            share = float(np.isclose(got, wanted, rtol=step, atol=least)[counted].mean())
            if share == 1:
                return _ROUNDED
            if share >= _EQUAL:
                return f"{1 - share:.2%} of its numbers differ from the model's"
            factor = _factor(got, wanted)
            if factor is not None:
                return f"{factor:.4g} times the model's"
    return None


def _turned(constant: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers of a constant with its axes in every order; the filters of a transposed
    convolution also backwards."""
    plain = constant.reshape([n for n in constant.shape if n > 1] or [1])
    for order in permutations(range(plain.ndim)):
        yield plain.transpose(order).reshape(-1)
    if plain.ndim > 2:
        backwards = np.flip(plain, (-2, -1))
        for order in permutations(range(plain.ndim)):
            yield backwards.transpose(order).reshape(-1)


def _factor(got: np.ndarray, wanted: np.ndarray) -> float | None:
    """The one positive number that makes one array the other, as far as rounding allows."""
    least = _LARGE * np.abs(wanted).max()

    def ratios_of(step: int) -> np.ndarray | None:
        """Of every ``step``-th number that is large; None where they are not of one factor."""
        some = wanted[::step].astype(np.float64)
        large = np.abs(some) >= least
        found: np.ndarray = got[::step].astype(np.float64)[large] / some[large]
        if not np.isfinite(found).all() or (found <= 0).any():
            return None
        apart = found.size and found.max() / found.min() > (1 + _ONE_FACTOR) / (1 - _ONE_FACTOR)
        return None if apart else found

    if ratios_of(max(1, wanted.size // _FIRST)) is None:
        return None
    ratios = ratios_of(1)
    if ratios is None or ratios.size < _LEAST_OF_ROW:
        return None
    factor = float(np.median(ratios))
    steady = float(np.abs(ratios / factor - 1).max()) <= _ONE_FACTOR
    near = 1 / _LARGEST_FACTOR <= factor <= _LARGEST_FACTOR
    return factor if steady and near else None
