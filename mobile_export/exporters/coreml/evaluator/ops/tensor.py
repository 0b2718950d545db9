"""MIL op reference: tensor_operation without sorting, and shape-only tensor_transformation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..table import Bools, Ints, Labels, Site, Tensor, Tensors, op

__all__: list[str] = []


@op("identity")
def identity(x: Tensor) -> Tensor:
    """x."""
    return x


@op("classify")
def classify(probabilities: Tensor, classes: Labels) -> tuple[str | Tensor, Tensor]:
    """The label of the largest probability, and the probabilities in the order of ``classes``."""
    flat = probabilities.flatten()
    label = classes[int(torch.argmax(flat))]
    return (label if isinstance(label, str) else torch.tensor(label), flat)


@op("shape")
def shape(x: Tensor) -> Tensor:
    """The shape as a vector."""
    return torch.tensor(x.shape, dtype=torch.int32)


@op("reshape")
def reshape(x: Tensor, shape: Ints, site: Site) -> Tensor:
    """-1 takes what is left; 0 takes the axis of x at that place (iOS 17: from the right)."""
    sizes = list(shape)
    shift = x.dim() - len(sizes) if site.ios >= 17 else 0
    for index, size in enumerate(sizes):
        if size == 0:
            sizes[index] = x.shape[index + shift] if index + shift >= 0 else 1
    return x.reshape(sizes)


@op("reshape_like")
def reshape_like(
    x: Tensor, ref_tensors: Tensors, begins: Ints, ends: Ints, end_masks: Bools
) -> Tensor:
    """To the slices [begin:end] of the references' shapes, one after the other."""
    sizes: list[int] = []
    for reference, begin, end, masked in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes.extend(reference.shape[begin:] if masked else reference.shape[begin:end])
    return x.reshape(sizes)


@op("expand_dims")
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    """New axes of size one, at their places in the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@op("squeeze")
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Without the given axes of size one; others are left alone."""
    return x.squeeze() if axes is None else x.squeeze(axes)


@op("flatten2d")
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """[prod(shape[:axis]), prod(shape[axis:])]."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("transpose")
def transpose(x: Tensor, perm: Ints) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return x.permute(perm)


@op("concat")
def concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    """One after the other, or element by element in turn; scalars make a vector."""
    if values[0].dim() == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@op("stack")
def stack(values: Tensors, axis: int) -> Tensor:
    """Along a new axis."""
    return torch.stack(values, axis)


@op("split")
def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> Tensors:
    """Into ``num_splits`` equal parts, or into parts of ``split_sizes``."""
    if split_sizes is None:
        if num_splits is None or x.shape[axis] % num_splits:
            raise ValueError(f"{x.shape[axis]} elements do not split into {num_splits} parts")
        return tuple(torch.chunk(x, num_splits, axis))
    return tuple(torch.split(x, list(split_sizes), axis))


@op("tile")
def tile(x: Tensor, reps: Ints) -> Tensor:
    """Every axis repeated as a whole."""
    return x.repeat(reps)


@op("pad")
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """(before, after) for each of the last axes, in the order of the axes."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    if mode == "constant":
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=constant_val)
    if mode not in ("reflect", "replicate"):
        raise ValueError(f"pad has no mode {mode!r}")
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        if before or after:
            size = x.shape[axis]
            if mode == "reflect" and max(before, after) >= size:
                raise ValueError(f"axis {axis} has {size} elements: it reflects {size - 1} at most")
            index = torch.arange(-before, size + after)
            if mode == "reflect":
                index = index.abs()
                index = torch.where(index < size, index, 2 * (size - 1) - index)
            x = x.index_select(axis, index.clamp(0, size - 1))
    return x


@op("fill")
def fill(shape: Ints, value: Tensor | None = None) -> Tensor:
    """A tensor of one value, 0.0 by default."""
    return (torch.tensor(0.0) if value is None else value).expand(shape).clone()


@op("fill_like")
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    """``fill`` of another tensor's shape."""
    return (torch.tensor(0.0) if value is None else value).expand(ref_tensor.shape).clone()


@op("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """start, start + step, … before end."""
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _index_is_open(indices: Tensor, one_hot_vector_size: int, **_: object) -> str | None:
    """Whether an index is none of the vector's."""
    if bool(((indices >= 0) & (indices < one_hot_vector_size)).all()):
        return None
    return "what an index outside of the vector sets: here nothing"


@op("one_hot", unsettled=_index_is_open)
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """on_value where the new ``axis`` equals the index, off_value elsewhere; 1 and 0 by default."""
    on = torch.tensor(1, dtype=torch.int32) if on_value is None else on_value
    off = torch.zeros_like(on) if off_value is None else off_value
    hot = indices.unsqueeze(-1) == torch.arange(one_hot_vector_size, dtype=indices.dtype)
    return torch.where(hot, on, off).movedim(-1, axis)


@op("non_zero")
def non_zero(x: Tensor) -> Tensor:
    """The indices of what is not zero, one row each."""
    return torch.nonzero(x).to(torch.int32)


@op("band_part")
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zeros outside of a band of the last two axes; a negative width keeps that side."""
    offset = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])[None, :]
    keep = torch.ones_like(offset, dtype=torch.bool)
    if lower >= 0:
        keep &= offset <= lower
    if upper >= 0:
        keep &= -offset <= upper
    return torch.where(keep, x, torch.zeros_like(x))


@op("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums; ``exclusive`` leaves out the element itself, ``reverse`` runs from the end."""
    if reverse:
        x = x.flip(axis)
    total = torch.cumsum(x, axis, dtype=x.dtype)
    if exclusive:
        zero = torch.zeros_like(total.narrow(axis, 0, 1))
        total = torch.cat([zero, total.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return total.flip(axis) if reverse else total
