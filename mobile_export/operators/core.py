"""The core set: ATen operators that formats take as they are, and what each of them computes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, summary
from ..graph.ops import called_name, operator_name
from ..graph.raised import call_at
from ..system.torch_private import OpOverload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch.fx import Node

    from ..graph.program import Program

__all__ = ["CORE", "SPELLINGS", "calls_of", "conversion_error", "is_core", "listed", "way_out"]

CORE: dict[str, str] = {
    # elements
    "abs": "|x|",
    "acos": "arc cosine, 0 to π",
    "add": "x + alpha · y",
    "asin": "arc sine, -π/2 to π/2",
    "atan": "arc tangent, -π/2 to π/2",
    "atan2": "angle of (y, x), -π to π",
    "atanh": "½ log((1 + x) / (1 - x))",
    "ceil": "smallest whole number not below x",
    "clamp": "min(max(x, low), high)",
    "clamp_max": "min(x, high)",
    "clamp_min": "max(x, low)",
    "cos": "cosine of radians",
    "cosh": "½ (eˣ + e⁻ˣ)",
    "div": "x / y; `floor` and `trunc` round the quotient",
    "elu": "x above 0, alpha (eˣ - 1) below",
    "eq": "x = y, as truth values",
    "erf": "2/√π ∫₀ˣ e⁻ᵗ² dt",
    "exp": "eˣ",
    "expm1": "eˣ - 1",
    "floor": "largest whole number not above x",
    "floor_divide": "floor(x / y) of whole numbers",
    "ge": "x ≥ y, as truth values",
    "gelu": "x Φ(x), or its tanh form",
    "gt": "x > y, as truth values",
    "hardsigmoid": "clamp(x / 6 + ½, 0, 1)",
    "hardswish": "x · hardsigmoid(x)",
    "hardtanh": "clamp(x, low, high)",
    "le": "x ≤ y, as truth values",
    "leaky_relu": "x above 0, slope · x below",
    "log": "natural logarithm",
    "log1p": "log(1 + x)",
    "logical_and": "both are not 0",
    "logical_not": "x is 0",
    "lt": "x < y, as truth values",
    "maximum": "the larger of x and y",
    "minimum": "the smaller of x and y",
    "mish": "x tanh(log(1 + eˣ))",
    "mul": "x · y",
    "ne": "x ≠ y, as truth values",
    "neg": "-x",
    "pow": "xʸ",
    "prelu": "x above 0, weight of the channel · x below",
    "reciprocal": "1 / x",
    "relu": "max(x, 0)",
    "remainder": "x - y · floor(x / y) of whole numbers",
    "relu6": "clamp(x, 0, 6)",
    "round": "nearest whole number, ties to even",
    "rsqrt": "1 / √x",
    "rsub": "y - alpha · x",
    "selu": "scale · elu(x, alpha) of Klambauer et al. 2017",
    "sigmoid": "1 / (1 + e⁻ˣ)",
    "sign": "-1, 0 or 1",
    "silu": "x · sigmoid(x)",
    "sin": "sine of radians",
    "sinh": "½ (eˣ - e⁻ˣ)",
    "softplus": "log(1 + e^(βx)) / β, and x where βx > threshold",
    "sqrt": "√x",
    "square": "x²",
    "sub": "x - alpha · y",
    "tan": "tangent of radians",
    "tanh": "hyperbolic tangent",
    "threshold": "x above the threshold, else a value",
    "to": "another type; whole numbers are cut towards zero",
    "where": "y where the condition is true, else z",
    "masked_fill": "a value where the mask is true, else x",
    # along axes
    "amax": "the largest along axes",
    "amin": "the smallest along axes",
    "argmax": "index of the first largest",
    "argmin": "index of the first smallest",
    "cumsum": "sums of all beginnings of an axis",
    "linalg_vector_norm": "(Σ|x|ᵖ)^(1/p) along axes",
    "max": "the largest, and its index where an axis is given",
    "mean": "the mean along axes",
    "min": "the smallest, and its index where an axis is given",
    "softmax": "eˣ / Σ eˣ along an axis",
    "sum": "the sum along axes",
    # products
    "addmm": "beta · x + alpha · a @ b",
    "conv1d": "cross-correlation along one axis, zeros around it",
    "conv2d": "along two axes; with computed filters, a product with `im2col` in ncnn, TNN",
    "conv3d": "along three axes",
    "conv_transpose2d": "the transpose of conv2d; with computed filters, a product and `col2im`",
    "einsum": "sums of products by index letters",
    "linear": "x Wᵀ + b",
    "matmul": "products of matrices, batches broadcast",
    "scaled_dot_product_attention": "softmax(q kᵀ · scale + mask) v",
    # norms
    "batch_norm": "(x - mean) / √(var + ε) · weight + bias, with stored mean and var",
    "group_norm": "the same with the mean and var of groups of channels",
    "instance_norm": "the same with those of each channel",
    "layer_norm": "the same with those of the last axes",
    "rms_norm": "x / √(mean(x²) + ε) · weight along the last axes",
    # windows
    "adaptive_avg_pool2d": "mean of windows floor(i·n/m) to ceil((i+1)·n/m)",
    "avg_pool1d": "mean of windows of one axis",
    "avg_pool2d": "of two axes",
    "avg_pool3d": "of three axes",
    "max_pool1d": "largest of windows of one axis",
    "max_pool2d": "of two axes",
    "max_pool3d": "of three axes",
    "col2im": "windows added into an image",
    "im2col": "windows of an image as columns",
    "grid_sampler": "values at positions of a grid, `bilinear` or `nearest`, zeros or the border "
    "outside",
    "upsample_bicubic2d": "cubic convolution, a = -0.75",
    "upsample_bilinear2d": "between the four neighbours",
    "upsample_nearest2d": "row floor(i · in / out)",
    # moving
    "cat": "one after the other along an axis",
    "constant_pad_nd": "a value around it",
    "embedding": "rows of stored indices",
    "expand": "axes of 1 repeated",
    "flip": "axes backwards",
    "gather": "elements of indices along an axis",
    "index": "elements of indices of several axes",
    "index_select": "rows of indices along an axis",
    "pad": "`constant`, `reflect` or `replicate` around it",
    "permute": "axes in another order",
    "pixel_shuffle": "channels (c, r, r) to pixels",
    "pixel_unshuffle": "pixels to channels (c, r, r)",
    "repeat": "copies along axes",
    "reshape": "another shape, elements in the same order",
    "roll": "turned around along axes",
    "select": "one index of an axis, which is gone",
    "slice": "a part of an axis, in steps",
    "split": "parts of one size along an axis",
    "split_with_sizes": "parts of given sizes",
    "stack": "along a new axis",
    "tril": "zeros above a diagonal",
    "triu": "zeros below a diagonal",
    "unbind": "all indices of an axis",
    # made
    "arange": "numbers in steps",
    "full": "one value",
}
"""What is in no other operator; names of ATen without their overloads."""


_NAMES = """
    _to_copy _unsafe_view adjoint alias bmm broadcast_to channel_shuffle chunk clone contiguous
    detach dropout expand_as flatten full_like lift_fresh_copy mT mm movedim numpy_T ones_like
    reshape_as squeeze swapaxes swapdims t transpose type_as unflatten unsqueeze view view_as
    zeros_like
"""
SPELLINGS = frozenset(_NAMES.split())
"""Not core, and left to `normalize_ops` and to the formats, which all take them."""


def is_core(target: Any) -> bool:
    """Whether ``target`` is an overload of an operator of `CORE`, or no ATen operator."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return True
    return operator_name(target) in CORE


def conversion_error(
    program: Program, title: str, converter: str, error: BaseException, *, said: str = ""
) -> ExportError:
    """What to raise where a converter failed: which calls it does not write, with module and line.

    Those whose node or operator it names in what it said; where it names none, those that are not
    core. Its own words are shown only where there are neither.

    Args:
        title: of the format.
        said: of ``error``, by the converter; its text by default.
    """
    text = said or str(error)
    found = _named(program, text)
    found = found or _outside(program)
    calls = listed(found)
    illegal = _ILLEGAL.search(text)
    hint = "Write it with other operators, or choose a format that takes it."
    hint = next(filter(None, map(way_out, found)), hint)
    if calls:
        what = f"{converter} does not write {calls}, so there is no {title} file of {program.spec}."
    elif illegal is not None:
        operation, axes, kind = (
            illegal[1],
            illegal[2].count("x"),
            _KINDS.get(illegal[3], illegal[3]),
        )
        what = (
            f"{title} has no {operation} of {kind} with {axes} axes, as which {converter} would "
            f"write a call of {program.spec}."
        )
    else:
        what = f"{converter} cannot convert {program.spec}: {said or summary(error)}."
        hint = "Please report it with the model."
    return ExportError(what, hint=f"{hint} `verbose=True` shows the converter's own report.")


_WAYS_OUT = {
    "roi_align": "Give it a sampling_ratio above 0, such as 2: without one, it takes as many "
    "samples as a box is large, and a file has static shapes."
}
"""What to do about a call that has no rule with some arguments, by operator."""


def way_out(node: Node) -> str | None:
    """A hint for a call that no rule takes as it is; None where there is none of its own."""
    return _WAYS_OUT.get(called_name(node))


_ILLEGAL = re.compile(
    r"failed to legalize operation '\w+\.(\w+)'.*?: \(tensor<((?:[\d?]+x)*)(\w+)>", re.DOTALL
)
"""litert-torch: the operation, the shape of what it is given, and its type."""

_KINDS = {f"{sign}{bits}": f"{name}{bits}" for sign, name in
          (("f", "float"), ("i", "int"), ("ui", "uint")) for bits in (8, 16, 32, 64)}  # fmt: skip
_KINDS["i1"] = "bool"


def _named(program: Program, said: str) -> list[Node]:
    """The calls that a converter names."""
    words = {word for found in _CALLED.findall(said) for word in found if word}
    calls = [
        node
        for node in program.exported.graph.nodes
        if isinstance(node.target, OpOverload) and "val" in node.meta
    ]
    found = [node for node in calls if node.name in words]
    return found or [node for node in calls if _words_for(node.target) & words]


def _words_for(target: Any) -> set[str]:
    """What converters call an operator: Core ML has no axes in names (`max_pool`)."""
    name = operator_name(target)
    return {name, re.sub(r"[123]d$", "", name)}


_CALLED = re.compile(
    r"""(?:aten|prims)(?:\.|::)(\w+)|['"`](\w+)['"`]|fx node (\w+)|kind (\w+)|op (\w+)|@(\w+)"""
)
"""How converters call what they refuse: plain words are operators' names, too (`to`, `index`)."""


def _outside(program: Program) -> list[Node]:
    """The calls of a program that are not core."""
    return [
        node
        for node in program.exported.graph.nodes
        if isinstance(node.target, OpOverload)
        and not (node.target.namespace == "aten" and is_core(node.target))
        and operator_name(node.target) not in SPELLINGS
    ]


def listed(nodes: Iterable[Node]) -> str:
    """Calls with their module and line; for a message."""
    return _few([call_at(node) for node in nodes])


def calls_of(program: Program, names: Collection[str]) -> str:
    """The calls of operators of these names, with their module and line; for a message.

    Args:
        names: of ATen without their overloads.
    """
    found = [
        call_at(node)
        for node in program.exported.graph.nodes
        if isinstance(node.target, OpOverload) and operator_name(node.target) in names
    ]
    return _few(found)


def _few(found: list[str]) -> str:
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more
