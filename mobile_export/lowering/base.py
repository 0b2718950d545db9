"""What a layer graph is made of; re-exported by `ir`, which holds the kinds of layer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

__all__ = [
    "BinaryOp",
    "Layer",
    "LayerGraph",
    "Nonlinearity",
    "NonlinearityName",
    "Pairs",
    "ReduceOp",
    "Shape",
    "UnaryOp",
    "Value",
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
