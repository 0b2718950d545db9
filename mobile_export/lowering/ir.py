"""The layer graph: what the ncnn and the TNN writer are given.

A `LayerGraph` is a list of layers in order of execution. Conventions:

* **No batch.** The model's batch of 1 is gone. A value is a dense row-major array of rank 1 to 4
  whose shape is known; an image is (channels, height, width) and its channel axis is axis 0. A
  batch that the model itself makes (windows, heads) is an axis like any other.
* **One output per layer**, made once. A value may have any number of users.
* **Nothing is implied.** Operands of `Binary`, `MatMul` and `Concat` have equal rank; paddings are
  explicit pairs (before, after) and never "ceil mode"; axes are not negative; the shape of the
  output is what the layer's definition gives.
* **Numbers.** Values are float32 at run time, but for `ArgMax`, whose result counts. Weights are
  numpy arrays, float32 as the model stores them or float64 where the lowering computed them: a
  writer rounds each of them once.
* A layer may reshape only as `Reshape` says: row-major, as numpy does. A writer whose runtime lays
  arrays out otherwise has to keep that meaning.

The exact meaning of every layer is its entry in `reference`, which executes the graph in float64.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "LAYERS",
    "Activation",
    "ArgMax",
    "Binary",
    "BinaryOp",
    "Concat",
    "Constant",
    "ConvTranspose",
    "Convolution",
    "GroupNorm",
    "IntegerSteps",
    "Interp",
    "Layer",
    "LayerGraph",
    "LayerNorm",
    "Linear",
    "MatMul",
    "Nonlinearity",
    "NonlinearityName",
    "PReLU",
    "Pairs",
    "Pad",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "Pool",
    "Reduce",
    "ReduceOp",
    "Reshape",
    "Round",
    "Scale",
    "Shape",
    "Slice",
    "Softmax",
    "Tile",
    "Unary",
    "UnaryOp",
    "Unfold",
    "Value",
    "repeated_bytes",
]


Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

NonlinearityName = Literal[
    "relu",  # max(x, 0)
    "clip",  # min(max(x, alpha), beta); relu6 is clip(0, 6)
    "leaky_relu",  # x if x > 0 else alpha x
    "elu",  # x if x > 0 else alpha (exp(x) - 1)
    "selu",  # beta (x if x > 0 else alpha (exp(x) - 1))
    "celu",  # x if x > 0 else alpha (exp(x / alpha) - 1)
    "sigmoid",
    "tanh",
    "silu",  # x sigmoid(x)
    "gelu",  # x (1 + erf(x / sqrt 2)) / 2
    "gelu_tanh",  # x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
    "hard_sigmoid",  # min(max(alpha x + beta, 0), 1)
    "hard_swish",  # x min(max(alpha x + beta, 0), 1)
    "softplus",  # log(1 + exp(x))
    "mish",  # x tanh(log(1 + exp(x)))
]
UnaryOp = Literal[
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "square", "reciprocal",
    "sin", "cos", "floor", "ceil", "round", "sign", "erf", "trunc", "tan", "atan", "log10",
    "asin", "acos", "step",
]  # fmt: skip
BinaryOp = Literal["add", "sub", "mul", "div", "max", "min", "pow", "rsub", "rdiv", "rpow"]
"""``rsub``, ``rdiv`` and ``rpow`` take their operands in reverse order; only with a scalar."""
ReduceOp = Literal["sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2"]


@dataclass(frozen=True)
class Value:
    """An array that flows between layers.

    Attributes:
        name: unique in the graph; the ATen node it came from, with a suffix where one node became
            several layers.
        shape: rank 1 to 4, without batch.
        node: name of the ATen node of the prepared program.
        module: path of the module that made it, e.g. ``blocks.3.attn``, or an empty text.
    """

    name: str
    shape: Shape
    node: str = ""
    module: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One step. Subclasses add what it does; ``name`` of a layer is that of its output."""

    inputs: tuple[Value, ...]
    output: Value

    @property
    def kind(self) -> str:
        """The name of the class, e.g. ``Convolution``."""
        return type(self).__name__

    @property
    def name(self) -> str:
        return self.output.name

    @property
    def input(self) -> Value:
        """The first input."""
        return self.inputs[0]

    @property
    def attributes(self) -> dict[str, object]:
        """What the subclass adds, by name."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("inputs", "output")
        }


@dataclass(frozen=True)
class Nonlinearity:
    """A function of one number; `NonlinearityName` says which and what alpha and beta mean."""

    name: NonlinearityName
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True, eq=False)
class IntegerSteps:
    """Of a layer that multiplies integers: what its input and its weights are multiples of.

    Attributes:
        source: the input is rounded to multiples of it, from ``limits[0]`` to ``limits[1]``.
        weights: (O,), for each output channel: its weights are multiples of that.
        node: of the program that the layer came from, whatever was put into it since.
        result: what the layer gives is rounded to multiples of it, within the same limits, behind
            its activation; None where it gives floats.
    """

    source: float
    limits: tuple[int, int]
    weights: np.ndarray
    node: str
    result: float | None = None


@dataclass(frozen=True)
class LayerGraph:
    """Layers in order of execution.

    Attributes:
        inputs: one image (C, H, W) for every input of the program, named as the program names it.
        outputs: one per output of the program, in order; a value may occur twice or be an input.
        output_names: names of the program's outputs, in order.
        output_shapes: shapes of the program's outputs, with the batch: each output of the graph
            holds the same elements in the same order, in a rank from 1 to 4.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[Layer, ...]
    output_names: tuple[str, ...] = ()
    output_shapes: tuple[Shape, ...] = field(default=())

    MAX_RANK: ClassVar[int] = 4

    def users(self) -> dict[Value, tuple[Layer, ...]]:
        """The layers that take each value, in order."""
        found: dict[Value, list[Layer]] = {value: [] for value in self.inputs}
        for layer in self.layers:
            found.setdefault(layer.output, [])
            for value in layer.inputs:
                found.setdefault(value, []).append(layer)
        return {value: tuple(layers) for value, layers in found.items()}


def repeated_bytes(graph: LayerGraph) -> int:
    """Bytes of float32 weights that a file has more than once: each layer stores its own."""
    seen: set[tuple[Shape, bytes]] = set()
    total = 0
    for layer in graph.layers:
        for each in fields(layer):
            value = getattr(layer, each.name)
            if not hasattr(value, "tobytes"):
                continue
            key = (value.shape, hashlib.sha256(value.tobytes()).digest())
            total += 4 * int(value.size) * (key in seen)
            seen.add(key)
    return total


# Kinds of layer ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Layer):
    """``value``; no inputs."""

    value: np.ndarray


# Activations and elementwise ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation(Layer):
    """``function`` of every element."""

    function: Nonlinearity


@dataclass(frozen=True, eq=False, kw_only=True)
class Round(Layer):
    """The nearest multiple of ``step``, from ``limits[0]`` to ``limits[1]``; ties to even."""

    step: float
    limits: tuple[int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class PReLU(Layer):
    """``x if x > 0 else slope[c] * x`` with c the index along axis 0; ``slope`` is (C,)."""

    slope: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Unary(Layer):
    """``op`` of every element.

    ``round`` goes to the even neighbour of a half; ``step`` is 1 above 0, else (and for NaN) 0.
    """

    op: UnaryOp


@dataclass(frozen=True, eq=False, kw_only=True)
class Binary(Layer):
    """``a op b`` of two inputs of equal rank, whose axes are equal or 1, or of one and a scalar."""

    op: BinaryOp
    scalar: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Layer):
    """``x * scale[c] + bias[c]`` with c the index along axis 0; both (C,)."""

    scale: np.ndarray
    bias: np.ndarray | None = None


# Linear maps -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Layer):
    """Cross-correlation of (I, *spatial) with 1, 2 or 3 spatial axes, zero padded.

    Attributes:
        weight: (O, I / groups, *kernel).
        bias: (O,) or None.
        stride, dilation: one per spatial axis; ``padding`` a pair (before, after) each.
        activation: applied to the result; put there by `fuse_activations` only.
        steps: where it multiplies integers; put there by `integers.multiply_integers` only.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: Shape
    padding: Pairs
    dilation: Shape
    groups: int
    activation: Nonlinearity | None = None
    steps: IntegerSteps | None = None

    @property
    def kernel(self) -> Shape:
        """Size of the kernel, per spatial axis."""
        return tuple(self.weight.shape[2:])


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvTranspose(Layer):
    """Transposed convolution of (I, *spatial).

    The full result has (n - 1) stride + dilation (kernel - 1) + 1 + output_padding positions per
    axis, of which ``padding`` = (before, after) are cut off.

    Attributes:
        weight: (I, O / groups, *kernel), PyTorch's layout.
        output_padding: zeros (plus bias) appended after the last position, before the cut.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: Shape
    padding: Pairs
    output_padding: Shape
    dilation: Shape
    groups: int
    activation: Nonlinearity | None = None

    @property
    def kernel(self) -> Shape:
        """Size of the kernel, per spatial axis."""
        return tuple(self.weight.shape[2:])


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Layer):
    """``x @ weight.T + bias`` for x (I,) or (rows, I); weight (O, I), bias (O,) or None.

    ``steps`` as of `Convolution`.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    activation: Nonlinearity | None = None
    steps: IntegerSteps | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class MatMul(Layer):
    """(M, K) @ (K, N) or (B, M, K) @ (B, K, N), B equal; with ``transpose_b`` b is (…, N, K)."""

    transpose_b: bool = False


# Normalisation and statistics --------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Layer):
    """Softmax along ``axis``."""

    axis: int


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerNorm(Layer):
    """Normalise along the last axis, of size C: (x - mean) / sqrt(var + eps) * weight + bias.

    ``weight`` and ``bias`` are (C,), or both None. The variance is the biased one.
    """

    eps: float
    weight: np.ndarray | None
    bias: np.ndarray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupNorm(Layer):
    """Normalise (C, …) over each of ``groups`` runs of channels and all other axes.

    ``weight`` and ``bias`` are (C,), or both None. groups == C is an instance norm.
    """

    groups: int
    eps: float
    weight: np.ndarray | None
    bias: np.ndarray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduce(Layer):
    """``op`` over ``axes``, which stay as 1 with ``keepdims``; all axes without it give (1,)."""

    op: ReduceOp
    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class ArgMax(Layer):
    """Index of the (first) largest element along ``axis``, which stays as 1 with ``keepdims``."""

    axis: int
    keepdims: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Layer):
    """Maximum or average over windows of (C, *spatial) with 1 or 2 spatial axes.

    The number of windows is floor((n + before + after - kernel) / stride) + 1: no ceil mode.
    Padding is -inf for ``max``. For ``avg`` it is 0, and counts in the divisor with
    ``count_padding`` only.
    """

    mode: Literal["max", "avg"]
    kernel: Shape
    stride: Shape
    padding: Pairs
    count_padding: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Interp(Layer):
    """Resize the last two axes of (C, H, W) to those of the output, as torch.nn.functional does.

    Position of output i in the input: i (n - 1) / (m - 1) with ``align_corners``, else
    (i + 1/2) n / m - 1/2 (clamped to >= 0 for bilinear), and floor(i n / m) for nearest. Bicubic
    has a = -0.75. There is no anti-aliasing.
    """

    mode: Literal["nearest", "bilinear", "bicubic"]
    align_corners: bool = False


# Movement ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Layer):
    """The same elements in row-major order, in the shape of the output."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Permute(Layer):
    """Axis i of the output is axis ``order[i]`` of the input."""

    order: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Layer):
    """All inputs one after the other along ``axis``."""

    axis: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Layer):
    """``x[start:stop:step]`` along ``axis``; 0 <= start < stop <= size, step >= 1."""

    axis: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Layer):
    """``padding`` = (before, after) for every axis of the input, none negative.

    The lowering writes three axes at most. ``reflect`` and ``replicate`` always have three and
    leave the first alone: the padded axes are the rows and columns of a runtime's image.
    """

    padding: Pairs
    mode: Literal["constant", "reflect", "replicate"] = "constant"
    value: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Tile(Layer):
    """``numpy.tile``: axis i is repeated ``repeats[i]`` times."""

    repeats: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Unfold(Layer):
    """The elements of every window of (C, *spatial), zero padded, as channels (C taps, *windows).

    Channel c taps + t holds element t of each window of channel c, in the order of the kernel; so
    does torch.nn.functional.unfold. All attributes have one entry per spatial axis, 1 or 2 of them.
    """

    kernel: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelShuffle(Layer):
    """(C f f, H, W) to (C, H f, W f), as torch.nn.functional.pixel_shuffle."""

    factor: int


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelUnshuffle(Layer):
    """(C, H f, W f) to (C f f, H, W), as torch.nn.functional.pixel_unshuffle."""

    factor: int


LAYERS: tuple[type[Layer], ...] = tuple(Layer.__subclasses__())
"""Every kind of layer. A writer that lacks one refuses the graph before it writes anything."""
