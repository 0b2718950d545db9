"""One list of layers for images of several sizes.

A model is lowered at each size by itself. What ncnn's layers are given is the same numbers at every
size in most of them; where it is not, ncnn (since 2025) takes some as an expression of the extents
of a layer's inputs: the shape of a ``Reshape``, the size of an ``Interp``, the ends of a ``Crop``.
``//(*(1h,3),2)`` is three halves of the height of the layer's second input, which is then the
image. Everything else that differs is refused: another number of layers, other stored numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ...errors import LoweringError
from ...lowering.ir import Shape
from .files import NcnnLayer, Param

__all__ = ["FREE", "for_all_sizes"]

FREE = (0, 1)
"""The parameters of an ``Input`` that are left out where they are free: width and height."""

_AXES = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}
_SHAPE = {1: (0,), 2: (0, 1), 3: (0, 1, 2), 4: (0, 1, 11, 2)}
"""Of a ``Reshape``: its numbers from the innermost axis, by how many there are."""

_RESHAPE, _INTERP, _CROP = 6, 9, {9: 19, 10: 20, 11: 21}
"""Where their expressions are."""

_EVENLY = -233
"""An extent of ``Slice``: what is left is divided evenly."""


@dataclass(frozen=True)
class _Extent:
    """An expression, and its value at each size."""

    text: str
    values: tuple[int, ...]


def for_all_sizes(
    lists: Sequence[Sequence[NcnnLayer]],
    shapes: Sequence[Mapping[str, Shape]],
    said: Sequence[str],
) -> list[NcnnLayer]:
    """The one list of layers that is each of ``lists`` at its size.

    Args:
        lists: the layers of a model at several sizes of its one input.
        shapes: of its blobs at each of them, as many as are known.
        said: the sizes in words.

    Raises:
        LoweringError: there is none; the layer is named, and what is not the same.
    """
    first = lists[0]
    for layers, size in zip(lists[1:], said[1:], strict=True):
        if [each.type for each in layers] != [each.type for each in first]:
            raise _refusal("it has other layers", said[0], size, _where(first, layers))
    image = first[0].outputs[0]
    names: list[dict[str, str]] = [{} for _ in lists]
    made = []
    for row in zip(*lists, strict=True):
        for each, known, size in zip(row, names, said, strict=True):
            known |= dict(zip(each.outputs, row[0].outputs, strict=True))
            if tuple(known[blob] for blob in each.inputs) != row[0].inputs:
                raise _refusal("it is wired otherwise", said[0], size, row[0])
            if not _same_weights(each, row[0]):
                what = "it stores other numbers, such as a table made for the size"
                raise _refusal(what, said[0], size, row[0])
        made.append(_one(row, shapes, image, said))
    return made


def _where(first: Sequence[NcnnLayer], other: Sequence[NcnnLayer]) -> NcnnLayer:
    """Where two lists of layers part."""
    pairs = zip(first, other, strict=False)
    return next((a for a, b in pairs if a.type != b.type), first[-1])


def _same_weights(a: NcnnLayer, b: NcnnLayer) -> bool:
    pairs = zip(a.weights, b.weights, strict=False)
    return len(a.weights) == len(b.weights) and all(
        x.value.shape == y.value.shape and np.array_equal(x.value, y.value) for x, y in pairs
    )


def _one(
    row: Sequence[NcnnLayer], shapes: Sequence[Mapping[str, Shape]], image: str, said: Sequence[str]
) -> NcnnLayer:
    """One layer for all sizes."""
    first = row[0]
    different = next((i for i, each in enumerate(row) if each.params != first.params), None)
    if different is None:
        return first
    if first.type == "Input":
        return replace(first, params={k: v for k, v in first.params.items() if k not in FREE})
    extents = [
        *_extents(0, [known.get(each.inputs[0]) for known, each in zip(shapes, row, strict=True)]),
        *_extents(1, [known[image] for known in shapes]),
    ]
    params = _params(row, extents)
    if params is None:
        what = f"its numbers ({_numbers(first)} and {_numbers(row[different])})"
        raise _refusal(what, said[0], said[different], first)
    texts = "".join(value for value in params.values() if isinstance(value, str))
    inputs = (*first.inputs, image) if any(f"1{axis}" in texts for axis in "chwd") else first.inputs
    return replace(first, inputs=inputs, params=params)


def _numbers(layer: NcnnLayer) -> str:
    return ", ".join(part for part in layer.line().split() if "=" in part)


def _extents(place: int, shapes: Sequence[Shape | None]) -> list[_Extent]:
    """The extents of one input of a layer, and of its last two axes the product."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return []
    names = _AXES[len(known[0])]
    found = [
        _Extent(f"{place}{name}", tuple(shape[axis] for shape in known))
        for axis, name in enumerate(names)
    ]
    if len(names) > 1:
        height, width = found[-2:]
        both = tuple(a * b for a, b in zip(height.values, width.values, strict=True))
        found.append(_Extent(f"*({height.text},{width.text})", both))
    return found


def _params(row: Sequence[NcnnLayer], extents: Sequence[_Extent]) -> dict[int, Param] | None:
    """The parameters of one layer for all sizes; None where there are none."""
    first = row[0]
    keys = [key for key in first.params if len({each.params.get(key) for each in row}) > 1]
    if any(each.params.keys() != first.params.keys() for each in row):
        return None
    if first.type == "Reshape":
        order = _SHAPE[len(first.params.keys() & {0, 1, 2, 11})]
        if not set(keys) <= set(order):
            return None
        if len(keys) == 1:
            return {**first.params, keys[0]: -1}
        rest = {key: value for key, value in first.params.items() if key not in order}
        return _with_text(rest, _RESHAPE, [_values(row, key) for key in order], extents)
    if first.type == "Interp" and set(keys) <= {3, 4}:
        rest = {key: value for key, value in first.params.items() if key not in (3, 4)}
        return _with_text(rest, _INTERP, [_values(row, key) for key in (4, 3)], extents)
    if first.type == "Crop" and set(keys) <= {9, 10}:
        found: dict[int, Param] | None = {k: v for k, v in first.params.items() if k not in _CROP}
        for key, place in _CROP.items():
            columns = list(zip(*(_numbers_of(each, key) for each in row), strict=True))
            found = None if found is None else _with_text(found, place, columns, extents)
        return found
    if first.type == "Slice" and keys == [0] and all(_even(each) for each in row):
        return {**first.params, 0: (_EVENLY,) * len(_numbers_of(first, 0))}
    return None


def _even(layer: NcnnLayer) -> bool:
    return len(set(_numbers_of(layer, 0))) == 1


def _numbers_of(layer: NcnnLayer, key: int) -> tuple[int, ...]:
    value = layer.params[key]
    assert isinstance(value, tuple)
    return tuple(int(number) for number in value)


def _values(row: Sequence[NcnnLayer], key: int) -> tuple[int, ...]:
    return tuple(int(each.params[key]) for each in row)  # type: ignore[arg-type]


def _with_text(
    params: dict[int, Param],
    place: int,
    columns: Sequence[tuple[int, ...]],
    extents: Sequence[_Extent],
) -> dict[int, Param] | None:
    """``params`` with an expression for each of some numbers; None where one has none."""
    texts = [_expression(column, extents) for column in columns]
    if any(text is None for text in texts):
        return None
    return {**params, place: ",".join(text for text in texts if text is not None)}


def _expression(values: tuple[int, ...], extents: Sequence[_Extent]) -> str | None:
    """What is ``values`` at the sizes: a number, or a multiple or part of an extent, or as many
    more or less than that."""
    if len(set(values)) == 1:
        return str(values[0])
    for extent in extents:
        ratios = {Fraction(v, e) for v, e in zip(values, extent.values, strict=True)}
        if len(ratios) == 1:
            return _part(extent.text, ratios.pop())
    for extent in extents:
        points = sorted(set(zip(extent.values, values, strict=True)))
        if len({e for e, _ in points}) < max(len(points), 3):
            continue
        (e, v), (other_e, other_v) = points[:2]
        slope = Fraction(other_v - v, other_e - e)
        more = v - slope * e
        if more.denominator == 1 and all(b == slope * a + more for a, b in points):
            return f"+({_part(extent.text, slope)},{more})"
    return None


def _part(text: str, ratio: Fraction) -> str:
    if ratio.numerator != 1:
        text = f"*({text},{ratio.numerator})"
    return text if ratio.denominator == 1 else f"//({text},{ratio.denominator})"


def _refusal(what: str, size: str, other: str, layer: NcnnLayer) -> LoweringError:
    return LoweringError(
        f"An ncnn file for several sizes has one list of layers, and at {layer.name} ({layer.type})"
        f" {what} at {size} and at {other}."
        if not what.startswith("its")
        else f"An ncnn file for several sizes has one list of layers, and {layer.name} "
        f"({layer.type}) has other numbers at {size} than at {other}: "
        f"{what.removeprefix('its numbers ').strip('()')}.",
        hint="Write a file for each, one `size` at a time; tflite has a graph for each size in one "
        "file.",
    )
