"""Seeded random calls of the operations that coremltools can fold, many per operation.

A sample is what ``mb.OP(**arguments)`` is given, all of it constant: coremltools' folding of it
(``value_inference``, numpy, by the vendor) computes the result, and the evaluator must return the
same. Shapes, axes, signs and modes are drawn, edges included: negative numbers under integer
division, halves under rounding, alpha above beta, reversed slices, ties of argmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PER_OP", "Sample", "samples"]

PER_OP = 8
Array = np.ndarray
Maker = Callable[[np.random.Generator, int], dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """One call: the operation, its arguments (a list is a tuple of tensors), the target."""

    op: str
    arguments: dict[str, Any]
    target: str


def _shape(rng: np.random.Generator, low: int = 1, high: int = 4) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 5, rng.integers(low, high + 1)))


def _real(
    rng: np.random.Generator, shape: tuple[int, ...], low: float = -3.0, high: float = 3.0
) -> Array:
    return rng.uniform(low, high, shape).astype(np.float32)


def _ints(rng: np.random.Generator, shape: tuple[int, ...], low: int = -9, high: int = 10) -> Array:
    return rng.integers(low, high, shape).astype(np.int32)


def _f32(value: float) -> np.float32:
    return np.float32(value)


def _axis(rng: np.random.Generator, rank: int) -> int:
    return int(rng.integers(-rank, rank))


def _unary(low: float = -3.0, high: float = 3.0) -> Maker:
    return lambda rng, i: {"x": _real(rng, _shape(rng), low, high)}


def _halves(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {"x": (rng.integers(-9, 10, _shape(rng)) / 2).astype(np.float32)}


def _bools(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {"x": rng.random(_shape(rng)) > 0.5}


def _broadcast(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    full = _shape(rng)
    drop = tuple(1 if rng.random() < 0.3 else n for n in full)
    return (full, drop) if rng.random() < 0.5 else (full, full[rng.integers(len(full)) :])


def _binary(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x, y = _broadcast(rng)
    make = _real if i % 2 else _ints
    return {"x": make(rng, x), "y": make(rng, y)}


def _division(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x, y = _broadcast(rng)
    divisor = rng.choice([-5, -3, -2, -1, 1, 2, 3, 7], y)
    if i % 2:
        return {"x": _real(rng, x, -20, 20), "y": divisor.astype(np.float32)}
    return {"x": _ints(rng, x, -20, 20), "y": divisor.astype(np.int32)}


def _real_division(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return _division(rng, 1)


def _power(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x, y = _broadcast(rng)
    if i % 2:
        return {"x": _real(rng, x), "y": rng.integers(0, 4, y).astype(np.float32)}
    return {"x": _real(rng, x, 0.1, 3.0), "y": _real(rng, y)}


def _logic(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x, y = _broadcast(rng)
    return {"x": rng.random(x) > 0.5, "y": rng.random(y) > 0.5}


def _with(maker: Maker, **constants: tuple[float, float]) -> Maker:
    """``maker`` and real constants drawn from ranges."""

    def make(rng: np.random.Generator, i: int) -> dict[str, Any]:
        drawn = {key: _f32(rng.uniform(*bounds)) for key, bounds in constants.items()}
        return maker(rng, i) | drawn

    return make


def _per_channel(*names: str) -> Maker:
    def make(rng: np.random.Generator, i: int) -> dict[str, Any]:
        return {"x": _real(rng, (2, 3, 4, 2))} | {
            name: _real(rng, (3,), 0.1, 2.0) for name in names
        }

    return make


def _gelu(rng: np.random.Generator, i: int) -> dict[str, Any]:
    modes = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    return {"x": _real(rng, _shape(rng)), "mode": modes[i % 3]}


def _along(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    return {"x": _real(rng, shape), "axis": _axis(rng, len(shape))}


def _reduce(low: float = -2.0) -> Maker:
    def make(rng: np.random.Generator, i: int) -> dict[str, Any]:
        shape = _shape(rng, 2)
        count = int(rng.integers(1, len(shape) + 1))
        axes = [int(a) for a in rng.permutation(len(shape))[:count]]
        axes = [a - len(shape) if rng.random() < 0.5 else a for a in axes]
        arguments = {"x": _real(rng, shape, low, 2.0), "keep_dims": bool(i % 2)}
        return arguments if i == 0 else {**arguments, "axes": axes}

    return make


def _arg(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng, 2)
    x = rng.integers(0, 3, shape).astype(np.float32)  # ties
    return {"x": x, "axis": _axis(rng, len(shape)), "keep_dims": bool(i % 2)}


def _distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def _sort(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    return {"x": _distinct(rng, shape), "axis": _axis(rng, len(shape)), "ascending": bool(i % 2)}


def _topk(rng: np.random.Generator, i: int) -> dict[str, Any]:
    arguments = _sort(rng, i)
    size = arguments["x"].shape[arguments["axis"]]
    return {**arguments, "k": int(rng.integers(1, size + 1))}


def _cast(rng: np.random.Generator, i: int) -> dict[str, Any]:
    kind = ("int32", "fp32", "bool", "fp16")[i % 4]
    return {
        "x": _real(rng, _shape(rng), -9, 9) if i % 3 else _ints(rng, _shape(rng)),
        "dtype": kind,
    }


def _select(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    cond = rng.random(shape) > 0.5
    return {"cond": cond, "a": _real(rng, shape), "b": _real(rng, shape)}


def _slice(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = tuple(int(n) for n in rng.integers(3, 7, rng.integers(1, 4)))
    begin, end, stride = [], [], []
    for size in shape:
        low, high = sorted(int(n) for n in rng.choice(size + 1, 2, replace=False))
        backwards = rng.random() < 0.4
        step = int(rng.integers(1, 3))
        first, last = (high - 1, low - 1) if backwards else (low, high)
        if backwards and last < 0:
            last = 0  # an end below -size is read in two ways: docs/coreml-evaluator.md
        elif rng.random() < 0.4 and last < size and not backwards:
            last -= size
        begin.append(first - size if rng.random() < 0.3 else first)
        end.append(last)
        stride.append(-step if backwards else step)
    masks = {
        name: [bool(rng.random() < 0.25) for _ in shape] for name in ("begin_mask", "end_mask")
    }
    x = _real(rng, shape)
    return {"x": x, "begin": begin, "end": end, "stride": stride} | masks


def _squeezed(rng: np.random.Generator, i: int) -> dict[str, Any]:
    if i % 2:
        return _slice(rng, i)
    shape = tuple(int(n) for n in rng.integers(2, 5, 3))
    begin = [int(rng.integers(-n, n)) for n in shape]
    squeeze = [bool(n) for n in rng.permutation([True, False, False])]
    end = [b + 1 if s else n for b, n, s in zip(begin, shape, squeeze, strict=True)]
    begin = [b if s else 0 for b, s in zip(begin, squeeze, strict=True)]
    return {"x": _real(rng, shape), "begin": begin, "end": end, "squeeze_mask": squeeze}


def _slice_by_size(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = tuple(int(n) for n in rng.integers(2, 6, 3))
    begin = [int(rng.integers(0, n)) for n in shape]
    size = [int(rng.integers(1, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
    return {
        "x": _real(rng, shape),
        "begin": np.array(begin, np.int32),
        "size": np.array(size, np.int32),
    }


def _slice_update(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = tuple(int(n) for n in rng.integers(2, 6, 3))
    begin = [int(rng.integers(0, n)) for n in shape]
    end = [int(rng.integers(b + 1, n + 1)) for n, b in zip(shape, begin, strict=True)]
    stride = [int(n) for n in rng.integers(1, 3, 3)]
    size = tuple(len(range(*s)) for s in zip(begin, end, stride, strict=True))
    arrays = {"x": _real(rng, shape), "update": _real(rng, size)}
    lists = {"begin": begin, "end": end, "stride": stride}
    return arrays | {key: np.array(value, np.int32) for key, value in lists.items()}


def _pad(rng: np.random.Generator, i: int) -> dict[str, Any]:
    mode = ("constant", "reflect", "replicate")[i % 3]
    shape = tuple(int(n) for n in rng.integers(3, 6, 4))
    amounts = [int(n) for n in rng.integers(0, 3, 4 if mode != "constant" else 2 * (1 + i % 4))]
    extra = {"constant_val": _f32(rng.uniform(-2, 2))} if mode == "constant" else {}
    return {"x": _real(rng, shape), "pad": amounts, "mode": mode} | extra


def _tile(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    return {"x": _real(rng, shape), "reps": [int(n) for n in rng.integers(1, 4, len(shape))]}


def _transpose(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    perm = [int(n) - (len(shape) if rng.random() < 0.5 else 0) for n in rng.permutation(len(shape))]
    return {"x": _real(rng, shape), "perm": perm}


def _reshape(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x = _real(rng, (2, 3, 4))
    return {"x": x, "shape": [[4, 6], [-1, 8], [0, -1, 2], [24], [-1]][i % 5]}


def _concat(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng, 2)
    axis = _axis(rng, len(shape))
    values = []
    for _ in range(2 + i % 3):
        sizes = list(shape)
        sizes[axis] = int(rng.integers(1, 4)) if i % 2 else shape[axis]
        values.append(_real(rng, tuple(sizes)))
    return {"values": values, "axis": axis}  # value_inference ignores `interleave`


def _stack(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng, 1, 3)
    values = [_real(rng, shape) for _ in range(2 + i % 2)]
    return {"values": values, "axis": _axis(rng, len(shape) + 1)}


def _split(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x, axis = _real(rng, (2, 6, 3)), (1, -2)[i % 2]
    if i % 3 == 0:
        return {"x": x, "axis": axis, "num_splits": (2, 3)[i % 2]}
    return {"x": x, "axis": axis, "split_sizes": [[1, 5], [2, 1, 3], [6]][i % 3]}


def _axes(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng, 2)
    axes = [int(a) for a in rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))]]
    arguments = {"x": _real(rng, shape)}
    return arguments if i == 0 else {**arguments, "axes": axes}


def _expand_dims(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {"x": _real(rng, (2, 3)), "axes": [[0], [1], [-1], [0, 2], [-1, 0], [1, 2, -1]][i % 6]}


def _squeeze(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x = _real(rng, (1, 3, 1, 2, 1))
    return {"x": x} | ({} if i == 0 else {"axes": [[0], [2, -1], [-5, 4], [0, 2, 4]][i % 4]})


def _flatten(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {"x": _real(rng, (2, 3, 4)), "axis": (1, 2, -1, -2)[i % 4]}


def _cumsum(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = _shape(rng)
    x = _real(rng, shape)
    axis = int(rng.integers(len(shape)))
    # value_inference of coremltools 9.0 raises TypeError where ``exclusive`` is true.
    return {"x": x, "axis": axis, "exclusive": False, "reverse": bool(i & 1)}


def _band_part(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x = _real(rng, (2, 5, 4)[i % 2 :])
    return {"x": x, "lower": int(rng.integers(-1, 5)), "upper": int(rng.integers(-1, 5))}


def _fill(rng: np.random.Generator, i: int) -> dict[str, Any]:
    value = _f32(rng.normal()) if i % 2 else np.int32(rng.integers(-5, 5))
    return {"shape": list(_shape(rng)), "value": value}


def _fill_like(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {"ref_tensor": _real(rng, _shape(rng)), "value": _f32(rng.normal())}


def _range(rng: np.random.Generator, i: int) -> dict[str, Any]:
    start, count = int(rng.integers(-9, 9)), int(rng.integers(1, 9))
    step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
    kind = np.int32 if i % 2 else np.float32
    return {"start": kind(start), "end": kind(start + count * step), "step": kind(step)}


def _linear(rng: np.random.Generator, i: int) -> dict[str, Any]:
    arguments = {"x": _real(rng, (2, 3, 4)[i % 2 :]), "weight": _real(rng, (5, 4))}
    return arguments | ({"bias": _real(rng, (5,))} if i % 3 else {})


def _matmul(rng: np.random.Generator, i: int) -> dict[str, Any]:
    lead = ((), (2,), (1, 2))[i % 3]
    x, y = (*lead, 3, 4), (*((2,) if i % 2 and lead else ()), 4, 5)
    tx, ty = bool(i & 1), bool(i & 2)
    x = (*x[:-2], x[-1], x[-2]) if tx else x
    y = (*y[:-2], y[-1], y[-2]) if ty else y
    return {"x": _real(rng, x), "y": _real(rng, y), "transpose_x": tx, "transpose_y": ty}


def _einsum(rng: np.random.Generator, i: int) -> dict[str, Any]:
    equation, *shapes = [  # all that the reference has
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
    ][i % 2]
    return {"values": [_real(rng, shape) for shape in shapes], "equation": equation}


def _gather(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = tuple(int(n) for n in rng.integers(2, 5, 3))
    axis = _axis(rng, 3)
    indices = _ints(rng, ((4,), (2, 3), (1,))[i % 3], 0, shape[axis])
    return {"x": _real(rng, shape), "indices": indices, "axis": axis}


def _gather_along_axis(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = [int(n) for n in rng.integers(2, 5, 3)]
    axis = _axis(rng, 3)
    picked = list(shape)
    picked[axis] = int(rng.integers(1, 5))
    indices = _ints(rng, tuple(picked), 0, shape[axis])
    return {"x": _real(rng, tuple(shape)), "indices": indices, "axis": axis}


def _scatter_along_axis(rng: np.random.Generator, i: int) -> dict[str, Any]:
    shape = [int(n) for n in rng.integers(2, 5, 3)]
    axis = _axis(rng, 3)
    order = np.argsort(rng.random(shape), axis).astype(np.int32)  # no index twice
    count = int(rng.integers(1, shape[axis] + 1))
    indices = np.take(order, range(count), axis)
    updates = _real(rng, indices.shape)
    data = _real(rng, tuple(shape))
    return {"data": data, "indices": indices, "updates": updates, "axis": axis, "mode": "update"}


def _layer_norm(rng: np.random.Generator, i: int) -> dict[str, Any]:
    axes = [[-1], [1, 2], [-2, -1], [2]][i % 4]
    x = _real(rng, (2, 3, 4))
    shape = tuple(x.shape[a] for a in axes)
    affine = {"gamma": _real(rng, shape), "beta": _real(rng, shape)} if i % 2 else {}
    return {"x": x, "axes": axes, "epsilon": _f32(rng.choice([1e-5, 1e-3, 0.1]))} | affine


def _l2_norm(rng: np.random.Generator, i: int) -> dict[str, Any]:
    x = _real(rng, ((3, 4, 2), (2, 3, 4, 2))[i % 2])
    return {"x": x, "epsilon": _f32(rng.choice([1e-6, 0.1]))}


def _quantize(rng: np.random.Generator, i: int) -> dict[str, Any]:
    kind = ("int8", "uint8")[i % 2]
    scale = _real(rng, (3,), 0.01, 0.2) if i % 4 > 1 else _f32(rng.uniform(0.01, 0.2))
    extra: dict[str, Any] = {"axis": 1} if i % 4 > 1 else {}
    if i > 3:
        zero = rng.integers(0, 9, np.shape(scale)).astype(kind)
        extra["zero_point"] = zero if zero.shape else zero[()]
    x = _real(rng, (2, 3, 4), -9, 20)
    return {"input": x, "scale": scale, "output_dtype": kind} | extra


def _dequantize(rng: np.random.Generator, i: int) -> dict[str, Any]:
    arguments = _quantize(rng, i)
    kind = arguments.pop("output_dtype")
    arguments["input"] = rng.integers(0, 127, (2, 3, 4)).astype(kind)
    return arguments


_DOMAINS: dict[str, Maker] = {
    **dict.fromkeys(("acos", "asin", "atanh"), _unary(-0.99, 0.99)),
    **dict.fromkeys(
        ("abs", "atan", "cos", "cosh", "erf", "exp", "exp2", "sigmoid", "sin", "sinh", "softplus"),
        _unary(),
    ),
    **dict.fromkeys(("relu", "softsign", "square", "tanh", "identity", "shape"), _unary()),
    "tan": _unary(-1.4, 1.4),
    "relu6": _unary(-3, 9),
    "sqrt": _unary(0, 9),
    **dict.fromkeys(("ceil", "floor", "round", "sign", "non_zero"), _halves),
    "log": _with(_unary(0.01, 9), epsilon=(0, 0.1)),
    "inverse": _with(_unary(0.1, 3), epsilon=(0, 0.1)),
    "rsqrt": _with(_unary(0.1, 9), epsilon=(0, 0.1)),
    "clip": _with(_unary(), alpha=(-2, 1), beta=(-1, 2)),
    "threshold": _with(_unary(), alpha=(-2, 2)),
    "logical_not": _bools,
}

_ACTIVATIONS: dict[str, Maker] = {
    "clamped_relu": _with(_unary(), alpha=(-1, 1), beta=(0, 2)),
    "elu": _with(_unary(), alpha=(0.1, 2)),
    "gelu": _gelu,
    "leaky_relu": _with(_unary(), alpha=(-1, 2)),
    "linear_activation": _with(_unary(), alpha=(-1, 1), beta=(-1, 1)),
    "prelu": _per_channel("alpha"),
    "scaled_tanh": _with(_unary(), alpha=(-1, 2), beta=(-1, 2)),
    "sigmoid_hard": _with(_unary(), alpha=(0.1, 1), beta=(-1, 1)),
    "softplus_parametric": _per_channel("alpha", "beta"),
    "softmax": _along,
    "thresholded_relu": _with(_unary(), alpha=(-1, 2)),
}

_OTHERS: dict[str, Maker] = {
    **dict.fromkeys(
        ("add", "equal", "greater", "greater_equal", "less", "less_equal", "maximum"), _binary
    ),
    **dict.fromkeys(("minimum", "mul", "not_equal", "sub"), _binary),
    **dict.fromkeys(("floor_div", "mod"), _division),
    "real_div": _real_division,
    "pow": _power,
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), _logic),
    **dict.fromkeys(
        ("reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum_exp", "reduce_max", "reduce_mean"),
        _reduce(),
    ),
    **dict.fromkeys(("reduce_min", "reduce_prod", "reduce_sum", "reduce_sum_square"), _reduce()),
    "reduce_log_sum": _reduce(0.1),
    **dict.fromkeys(("reduce_argmax", "reduce_argmin"), _arg),
    "argsort": _sort,
    "topk": _topk,
    "cast": _cast,
    "select": _select,
    "slice_by_index": _squeezed,
    "slice_by_size": _slice_by_size,
    "pad": _pad,
    "tile": _tile,
    "transpose": _transpose,
    "reshape": _reshape,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "reverse": _axes,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "flatten2d": _flatten,
    "cumsum": _cumsum,
    "band_part": _band_part,
    "fill": _fill,
    "range_1d": _range,
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "scatter_along_axis": _scatter_along_axis,
    "layer_norm": _layer_norm,
    "l2_norm": _l2_norm,
}

_LATER: dict[str, tuple[str, Maker]] = {
    "fill_like": ("iOS16", _fill_like),
    "quantize": ("iOS17", _quantize),
    "dequantize": ("iOS17", _dequantize),
    "slice_update": ("iOS18", _slice_update),
}

_TARGETS: dict[str, tuple[str, Maker]] = {
    **{op: ("iOS15", maker) for op, maker in (_DOMAINS | _ACTIVATIONS | _OTHERS).items()},
    **_LATER,
}


def samples() -> Iterator[Sample]:
    """``PER_OP`` calls of every operation, the same in every run."""
    for number, (op, (target, maker)) in enumerate(sorted(_TARGETS.items())):
        rng = np.random.default_rng(number)
        for i in range(PER_OP):
            yield Sample(op, maker(rng, i), target)
