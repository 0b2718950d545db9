"""Rules of convolutions and transposed convolutions: a line is an image of height 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...lowering import ir
from .elementwise import activate
from .emit import Blob, Emitter, refuse, rule
from .files import Weight
from .integers import multiply
from .movement import pad_image, slice_axis

__all__: list[str] = []

_EXPLICIT, _SAME, _SAME_TRANSPOSED = -1, 0, 3
"""TNN's ``pad_type``: as given, both ends alike; TensorFlow's SAME; SAME with the odd one first."""

_NO_PADS = (0, 0)
_PLANE = (2, 3)
"""The axes of rows and columns."""


@dataclass(frozen=True)
class _Geometry:
    """A convolution of images: what is the same for both kinds.

    Attributes:
        weight: (O, I / groups, rows, columns), transposed (I, O / groups, rows, columns).
        stride, dilation: of rows and columns, and ``padding`` a pair (before, after) each.
        size: height and width of the output.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    groups: int
    stride: ir.Shape
    dilation: ir.Shape
    padding: ir.Pairs
    size: ir.Shape

    @classmethod
    def of(cls, layer: ir.Convolution | ir.ConvTranspose) -> _Geometry:
        """Of a layer with one or two spatial axes.

        Raises:
            ExportError: it has three.
        """
        if len(layer.kernel) > 2:
            problem = "its 3-d convolution exists on the reference device only"
            refuse(layer, problem, "Use 2-d convolutions.")
        ones = (1,) * (2 - len(layer.kernel))
        weight = layer.weight.reshape(*layer.weight.shape[:2], *ones, *layer.kernel)
        weight, dilation = _one_dilation(weight, ones + layer.dilation)
        return cls(
            weight=weight,
            bias=layer.bias,
            groups=layer.groups,
            stride=ones + layer.stride,
            dilation=dilation,
            padding=((0, 0),) * len(ones) + layer.padding,
            size=ones + layer.output.shape[1:],
        )

    @property
    def extent(self) -> ir.Shape:
        """Rows and columns that the dilated kernel spans."""
        kernel = self.weight.shape[2:]
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, kernel, strict=True))

    @property
    def before(self) -> ir.Shape:
        """Padding before the first row and column."""
        return tuple(before for before, _ in self.padding)

    def emit(
        self,
        out: Emitter,
        type_: str,
        x: Blob,
        channels: tuple[int, int],
        size: ir.Shape,
        pads: ir.Shape,
        pad_type: int,
    ) -> Blob:
        """The layer; ``channels`` are those of the input, per group, and of the output."""
        bias = () if self.bias is None else (Weight(self.bias),)
        params = self.params(channels, pads, pad_type, _NO_ACTIVATION)
        fields = (out.next_name(), len(bias), Weight(self.weight, half=True), *bias)
        return out.emit(type_, [x], (1, channels[1], *size), *params, fields=fields)

    def params(
        self, channels: tuple[int, int], pads: ir.Shape, pad_type: int, activation: int
    ) -> tuple[int, ...]:
        """In the order of TNN's ``ConvLayerInterpreter``."""
        kernel = self.weight.shape[2:]
        return (
            self.groups, *channels, *kernel, *self.stride, *pads, int(self.bias is not None),
            pad_type, *self.dilation, activation,
        )  # fmt: skip


_NO_ACTIVATION = 0
"""TNN merges the layer behind a convolution into it by itself."""

_INSIDE = {None: _NO_ACTIVATION, ir.Nonlinearity("relu"): 1, ir.Nonlinearity("clip", 0.0, 6.0): 2}
"""``ActivationType`` of a convolution of integers, which is written with it."""


def _one_dilation(weight: np.ndarray, dilation: ir.Shape) -> tuple[np.ndarray, ir.Shape]:
    """One dilation for both axes, which is all that TNN's kernels know.

    Where the two differ, it is their greatest common divisor, and what is left of each stands in
    the kernel as zeros between its elements.
    """
    kernel = weight.shape[2:]
    used = [rate for rate, size in zip(dilation, kernel, strict=True) if size > 1]
    common = math.gcd(*used) if used else 1
    steps = [rate // common if size > 1 else 1 for rate, size in zip(dilation, kernel, strict=True)]
    if steps != [1, 1]:
        spans = [step * (size - 1) + 1 for step, size in zip(steps, kernel, strict=True)]
        spread = np.zeros((*weight.shape[:2], *spans), weight.dtype)
        spread[:, :, :: steps[0], :: steps[1]] = weight
        weight = spread
    return weight, (common, common)


def _image(layer: ir.Layer, out: Emitter) -> Blob:
    """The input as (1, C, H, W)."""
    shape = layer.input.shape
    dims = (1, shape[0], 1, shape[1]) if len(shape) == 2 else (1, *shape)
    return out.reshape(out.input(layer), dims)


@rule(ir.Convolution)
def _convolution(layer: ir.Convolution, out: Emitter) -> Blob:
    geometry, x = _Geometry.of(layer), _image(layer, out)
    pads, pad_type = geometry.before, _EXPLICIT
    if any(before != after for before, after in geometry.padding):
        if _is_same(geometry, x.dims[2:]):
            pads, pad_type = _NO_PADS, _SAME
        else:
            x, pads = pad_image(out, x, geometry.padding), _NO_PADS
    outputs, inputs = geometry.weight.shape[:2]
    if layer.steps is not None:
        activation = _INSIDE[layer.activation]
        params = geometry.params((inputs, outputs), pads, pad_type, activation)
        dims = (1, outputs, *geometry.size)
        return multiply(out, layer, x, dims, params, geometry.weight)
    result = geometry.emit(out, "Convolution", x, (inputs, outputs), geometry.size, pads, pad_type)
    return activate(out, layer.activation, result)


@rule(ir.Unfold)
def _unfold(layer: ir.Unfold, out: Emitter) -> Blob:
    """One slice per element of the window, in the order channel, element.

    As a convolution of thousands of groups it is wrong on x86, and so many convolutions on ARM.
    """
    x, size = _image(layer, out), layer.output.shape[1:]
    ones = (1,) * (2 - len(layer.kernel))
    kernel, stride, dilation, size = (
        ones + values for values in (layer.kernel, layer.stride, layer.dilation, size)
    )
    if any(map(any, layer.padding)):
        x = pad_image(out, x, ((0, 0),) * len(ones) + layer.padding)
    reach = [(n - 1) * step + 1 for n, step in zip(size, stride, strict=True)]
    parts = []
    for tap in np.ndindex(*kernel):
        begins = [index * rate for index, rate in zip(tap, dilation, strict=True)]
        ends = [begin + length for begin, length in zip(begins, reach, strict=True)]
        params = (2, *begins, 2, *ends, 2, *_PLANE, 2, *stride)
        parts.append(out.emit("StridedSliceV2", [x], (*x.dims[:2], *size), *params))
    channels, taps = layer.input.shape[0], len(parts)
    if taps == 1:
        return parts[0]
    joined = out.concat(parts, (1, taps * channels, *size), 1)
    by_tap = out.reshape(joined, (taps, channels, *size))
    by_channel = out.permute(by_tap, (1, 0, *_PLANE))
    return out.reshape(by_channel, (1, channels * taps, *size))


def _is_same(geometry: _Geometry, size: ir.Shape) -> bool:
    """Whether the padding is exactly TensorFlow's SAME, for an input of this size."""
    sizes = zip(size, geometry.extent, geometry.stride, geometry.padding, strict=True)
    for n, extent, stride, (before, after) in sizes:
        total = max((math.ceil(n / stride) - 1) * stride + extent - n, 0)
        if (before, after) != (total // 2, total - total // 2):
            return False
    return True


@rule(ir.ConvTranspose)
def _conv_transpose(layer: ir.ConvTranspose, out: Emitter) -> Blob:
    geometry, x = _Geometry.of(layer), _image(layer, out)
    channels = (geometry.weight.shape[0] // layer.groups, layer.output.shape[0])
    pad_type = _transposed_pad_type(geometry, x.dims[2:])
    if pad_type is not None:
        pads = geometry.before if pad_type == _EXPLICIT else _NO_PADS
        size = geometry.size
        result = geometry.emit(out, "Deconvolution", x, channels, size, pads, pad_type)
        return activate(out, layer.activation, result)
    x = _with_room(out, x, geometry)
    full = _full(geometry, x.dims[2:])
    result = geometry.emit(out, "Deconvolution", x, channels, full, _NO_PADS, _EXPLICIT)
    for axis, (start, wanted) in enumerate(zip(geometry.before, geometry.size, strict=True)):
        if wanted != full[axis]:
            result = slice_axis(out, result, axis + 2, start, start + wanted)
    return activate(out, layer.activation, result)


def _transposed_pad_type(geometry: _Geometry, size: ir.Shape) -> int | None:
    """TNN's way to cut the full result to the output, or None when it has none."""
    full = _full(geometry, size)
    alike = tuple(whole - 2 * pad for whole, pad in zip(full, geometry.before, strict=True))
    if geometry.size == alike:
        return _EXPLICIT
    cuts = [max(whole - wanted, 0) for whole, wanted in zip(full, geometry.size, strict=True)]
    larger_halves = tuple(cut - cut // 2 for cut in cuts)
    same = tuple(n * stride for n, stride in zip(size, geometry.stride, strict=True))
    if (geometry.size, geometry.before) == (same, larger_halves):
        return _SAME_TRANSPOSED
    return None


def _full(geometry: _Geometry, size: ir.Shape) -> ir.Shape:
    """Height and width of a transposed convolution before anything is cut off."""
    sizes = zip(size, geometry.extent, geometry.stride, strict=True)
    return tuple((n - 1) * stride + extent for n, extent, stride in sizes)


def _with_room(out: Emitter, x: Blob, geometry: _Geometry) -> Blob:
    """``x`` with zeros behind it, so many that the full result reaches the last output."""
    full = _full(geometry, x.dims[2:])
    sizes = zip(full, geometry.size, geometry.stride, geometry.before, strict=True)
    rows, columns = (
        max(math.ceil((before + wanted - whole) / stride), 0)
        for whole, wanted, stride, before in sizes
    )
    return pad_image(out, x, ((0, rows), (0, columns))) if rows or columns else x
