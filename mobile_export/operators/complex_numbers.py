"""Complex numbers as pairs of real tensors, and Fourier transforms as products with matrices.

Runtimes of phones have real numbers only. So every complex tensor of a program becomes two, its
real and its imaginary part, and the transform of n values the product with a stored matrix of
cos(2π j k / n) and sin(2π j k / n): with both parts side by side, one real product for each axis.

`split` does it before all other rules. Where a program calls something on complex numbers that has
no rule here, all of them stay, and the message of a format that lacks them names that call.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, operator_name
from ..graph.raised import FAILED_RULE, call_at
from ..system.torch_private import OpOverload
from .elements import hypot
from .inline import inline

__all__ = ["computes_complex", "split"]

aten = torch.ops.aten
_LARGEST = 1 << 22  # elements of a stored matrix: transforms of 1024 complex values


class Pair(NamedTuple):
    """The parts of complex numbers: tensors, numbers, or the nodes that compute them."""

    real: Any
    imag: Any


def computes_complex(node: Node) -> bool:
    """Whether a call takes or gives complex numbers."""
    return any(map(_is_complex, (node, *node.all_input_nodes)))


def _is_complex(node: Node) -> bool:
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return isinstance(value, Tensor) and value.is_complex()


def split(graph: GraphEditor) -> None:
    """Every call on complex numbers as calls on their parts."""
    calls = [n for n in graph.nodes if n.op == "call_function" and computes_complex(n)]
    if any(FAILED_RULE in call.meta for call in calls):  # in an earlier run
        return
    unknown = next((call for call in calls if not _is_known(graph, call)), None)
    if unknown is not None:
        _leave(graph, calls, f"{call_at(unknown)} has no rule for complex numbers")
        return
    parts = _Parts(graph)
    for call in calls:
        try:
            parts.write(call)
        except Exception as error:  # noqa: BLE001  # a call that the rule did not expect; any type
            said = f"{call_at(call)}: {type(error).__name__}: {error}".splitlines()[0][:200]
            _leave(graph, [each for each in calls if each in graph], said)
            return


def _leave(graph: GraphEditor, calls: Sequence[Node], why: str) -> None:
    for call in calls:
        call.meta[FAILED_RULE] = why
    graph.changed(calls[0], f"complex numbers are left as they are: {why}")


def _is_known(graph: GraphEditor, call: Node) -> bool:
    """Whether there is a rule for a call, and its complex operands are computed or stored."""
    if any(_is_complex(n) and n.op == "placeholder" and not graph.is_constant(n)
           for n in call.all_input_nodes):  # fmt: skip
        return False
    if call.target is operator.getitem:
        return True
    if not isinstance(call.target, OpOverload) or call.target.namespace != "aten":
        return False
    name = operator_name(call.target)
    rules = (_MOVING, _FUNCTIONS, _FOURIER, _CASTS, _ZEROS, ("_assert_tensor_metadata",))
    return any(name in names for names in rules)


class _Parts:
    """The parts of every complex value of a graph.

    Attributes:
        known: by the node that computed a value.
        matrices: of transforms, stored once for all calls that multiply by them.
    """

    def __init__(self, graph: GraphEditor) -> None:
        self.graph = graph
        self.known: dict[Node, Pair] = {}
        self.matrices: dict[tuple[Any, ...], Node] = {}

    def write(self, call: Node) -> None:
        """The parts of what a call computes; where that is real, it takes the call's place."""
        for node in call.all_input_nodes:
            if _is_complex(node) and node not in self.known:
                self.known[node] = self._stored(node)
        if call.target is aten._assert_tensor_metadata.default:
            self.graph.erase(call)
            return
        result = self._result(call)
        if _is_complex(call):
            self.known[call] = Pair(*result)
            self.graph.changed(call, "real and imaginary parts")
        else:
            self.graph.replace(call, result, "of real and imaginary parts")

    def _stored(self, node: Node) -> Pair:
        value = self.graph.constant(node)
        assert value is not None
        value = value.resolve_conj()
        made = (self.graph.derived(node, part.contiguous(), node.name) for part in
                (value.real, value.imag))  # fmt: skip
        return Pair(*made)

    def _result(self, call: Node) -> Any:
        name = "" if call.target is operator.getitem else operator_name(call.target)  # type: ignore[arg-type]
        if name in _FOURIER:
            return self._transformed(call, _FOURIER[name](call))
        if name in _FUNCTIONS:
            return self._computed(call, _FUNCTIONS[name])
        if name in _CASTS:
            return self._computed(call, _cast_to_complex if _is_complex(call) else _cast_to_real)
        if name in _ZEROS:
            zeros = aten.zeros.default
            made = self.graph.call(zeros, list(shape_of(call)), like=call)
            return made, made
        return self._moved(call)

    def _moved(self, call: Node) -> tuple[Node, Node]:
        """The call on each part; a real operand has an imaginary part of zeros."""

        def of(part: int) -> Node:
            def taken(node: Node) -> Node:
                if node in self.known:
                    return self.known[node][part]  # type: ignore[no-any-return]
                value = node.meta["val"]
                if part == 0 or not value.is_floating_point():  # indices
                    return node
                return self.graph.call(aten.zeros_like.default, node, like=call)

            args, kwargs = torch.fx.node.map_arg((call.args, call.kwargs), taken)
            return self.graph.call(call.target, *args, like=call, kwargs=kwargs)

        return of(0), of(1)

    def _computed(self, call: Node, function: Callable[..., Any]) -> Any:
        """What ``function``, of the operator's schema, makes of pairs and real tensors."""
        nodes: list[Node] = []
        torch.fx.node.map_arg(
            (call.args, call.kwargs), lambda n: nodes.extend(self.known.get(n, (n,)))
        )
        nodes = list(dict.fromkeys(nodes))

        def run(*tensors: Tensor) -> Any:
            of = dict(zip(nodes, tensors, strict=True))

            def taken(node: Node) -> Any:
                pair = self.known.get(node)
                return of[node] if pair is None else Pair(of[pair.real], of[pair.imag])

            args, kwargs = torch.fx.node.map_arg((call.args, call.kwargs), taken)
            result = function(*args, **kwargs)
            return list(result) if isinstance(result, Pair) else result

        return inline(self.graph, call, run, *nodes)

    # Fourier transforms --------------------------------------------------------------------------

    def _transformed(self, call: Node, axes: Sequence[_Axis]) -> Any:
        x = call.args[0]
        assert isinstance(x, Node)
        parts: Any = self.known.get(x, (x,))
        for axis in axes:
            parts = self._along(call, parts, axis)
        return parts[0] if len(parts) == 1 else parts

    def _matrix(self, axis: _Axis, length: int, parts: int, turned: bool) -> Node:
        key = (axis[1:], length, parts, turned)
        if key not in self.matrices:
            if 4 * length * axis.size > _LARGEST:
                what = f"a transform of {axis.size} values would store more than {_LARGEST} numbers"
                raise NotImplementedError(what)
            values = axis.matrix(length, parts)
            values = values.T.contiguous() if turned else values
            self.matrices[key] = self.graph.add_constant(values, f"fourier_{axis.size}")
        return self.matrices[key]

    def _along(self, call: Node, parts: Sequence[Node], axis: _Axis) -> Sequence[Node]:
        """One axis: its values times the matrix, from the right where it is the last axis."""
        shape = shape_of(parts[0])
        last = axis.place % len(shape) == len(shape) - 1
        stored = self._matrix(axis, shape[axis.place], len(parts), not last)
        count = 1 if axis.gives_real else 2

        def product(matrix: Tensor, *values: Tensor) -> list[Tensor]:
            if last:
                y = torch.matmul(torch.cat(values, -1), matrix)
                return _halves(y, count, -1)
            turned = [value.transpose(axis.place, -2) for value in values]
            y = torch.matmul(matrix, torch.cat(turned, -2))
            return [part.transpose(axis.place, -2) for part in _halves(y, count, -2)]

        made: list[Node] = inline(self.graph, call, product, stored, *parts)
        return made


def _halves(y: Tensor, count: int, axis: int) -> list[Tensor]:
    size = y.shape[axis] // count
    return [y.narrow(axis, size * part, size) for part in range(count)]


class _Axis(NamedTuple):
    """A transform along one axis.

    Attributes:
        place: of the axis, negative or not.
        size: n, of the matrix: what is longer is cut, what is shorter has zeros behind it.
        sign: of the exponent.
        scale: what the result is multiplied by.
        half: whether the result has frequencies up to n / 2 only.
        gives_real: whether the operand has frequencies up to n / 2 only, and the result is real.
    """

    place: int
    size: int
    sign: int
    scale: float
    half: bool = False
    gives_real: bool = False

    def matrix(self, length: int, parts: int) -> Tensor:
        """Multiplied from the right to rows of ``length`` real parts and as many imaginary ones.

        Args:
            parts: 1 where rows have real parts only.
        """
        n = self.size
        rows, columns = torch.arange(length), torch.arange(n // 2 + 1 if self.half else n)
        angles = (rows[:, None] * columns % n).double() * (self.sign * 2 * math.pi / n)
        used = (rows < (n // 2 + 1 if self.gives_real else n)).double() * self.scale
        if self.gives_real:  # a frequency stands for its negative, too, which 0 and n / 2 are
            used = used * torch.where((2 * rows) % n == 0, 1.0, 2.0)
        cosines, sines = angles.cos() * used[:, None], angles.sin() * used[:, None]
        real = torch.cat([cosines, -sines][:parts])
        if self.gives_real:
            return real
        return torch.cat([real, torch.cat([sines, cosines][:parts])], 1)


_NORMS = {"backward": (1.0, 0.0), "ortho": (0.5, 0.5), "forward": (0.0, 1.0)}
"""The powers of 1/n that an inverse and a forward transform are multiplied by."""


def _named(call: Node) -> list[_Axis]:
    """Of torch.fft's functions: ``fft``, ``ifft``, ``rfft``, ``irfft``, with 2 or n axes."""
    name = operator_name(call.target).removeprefix("fft_")  # type: ignore[arg-type]
    x = call.args[0]
    assert isinstance(x, Node)
    shape = shape_of(x)
    if name[-1] in "2n":
        sizes, places = argument(call, "s"), argument(call, "dim")
    else:
        sizes, places = argument(call, "n"), argument(call, "dim")
        sizes, places = None if sizes is None else [sizes], [places]
    if places is None:
        count = len(shape) if sizes is None else len(sizes)
        places = list(range(-count, 0))
    found = [shape[place] for place in places]
    inverse, real = name.startswith("i"), name.startswith(("r", "ir"))
    if inverse and real:
        found[-1] = 2 * (found[-1] - 1)
    if sizes is not None:
        found = [old if new == -1 else new for old, new in zip(found, sizes, strict=True)]
    powers = _NORMS[argument(call, "norm") or "backward"]
    scales = [n ** -powers[0 if inverse else 1] for n in found]
    return _axes(places, found, scales, inverse=inverse, real=real)


def _raw(call: Node) -> list[_Axis]:
    """Of PyTorch's own transforms: real to complex, complex to real, complex to complex."""
    name = operator_name(call.target).removeprefix("_fft_")  # type: ignore[arg-type]
    x = call.args[0]
    assert isinstance(x, Node)
    places = list(argument(call, "dim"))
    sizes = [shape_of(x)[place] for place in places]
    inverse = name == "c2r" or (name == "c2c" and not argument(call, "forward"))
    if name == "c2r":
        sizes[-1] = argument(call, "last_dim_size")
    power = (0.0, 0.5, 1.0)[argument(call, "normalization")]
    real = name == "c2r" or (name == "r2c" and argument(call, "onesided"))
    return _axes(places, sizes, [n**-power for n in sizes], inverse=inverse, real=real)


def _axes(
    places: Sequence[int], sizes: Sequence[int], scales: Sequence[float], *, inverse: bool,
    real: bool,
) -> list[_Axis]:  # fmt: skip
    """In the order in which they are transformed: of real numbers the last axis first."""
    found = [
        _Axis(place, size, 1 if inverse else -1, scale)
        for place, size, scale in zip(places, sizes, scales, strict=True)
    ]
    if real:
        found[-1] = found[-1]._replace(half=not inverse, gives_real=inverse)
    return found if inverse else found[::-1]


_FOURIER: dict[str, Callable[[Node], list[_Axis]]] = {
    **dict.fromkeys(
        (f"fft_{kind}fft{axes}" for kind in ("", "i", "r", "ir") for axes in ("", "2", "n")), _named
    ),
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), _raw),
}

# Calls on parts ----------------------------------------------------------------------------------

_MOVES = """
    alias cat chunk clone constant_pad_nd contiguous cumsum detach diagonal expand expand_as
    fft_fftshift fft_ifftshift flatten flip gather index index_select lift_fresh_copy mT mean
    movedim narrow neg numpy_T permute repeat reshape roll select slice slice_scatter split
    split_with_sizes squeeze stack sum swapaxes swapdims t transpose tril triu unbind
    unflatten unsqueeze view where
"""
_MOVING = frozenset(_MOVES.split())
"""Each part of the result is the same of that part of the operands."""
_CASTS = frozenset({"to", "_to_copy", "type_as"})
_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})


def _parts_of(value: Any) -> Pair:
    """Of complex or real numbers."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(value.real, value.imag)
    return Pair(value, torch.zeros_like(value) if isinstance(value, Tensor) else 0.0)


def _bilinear(product: Callable[[Any, Any], Any]) -> Callable[..., Pair]:
    """The products of the parts of two operands, of which one may be real."""

    def multiplied(a: Any, b: Any) -> Pair:
        """(a + bi) (c + di) = (ac - bd) + (ad + bc) i."""
        if not isinstance(a, Pair | complex):
            b = _parts_of(b)
            return Pair(product(a, b.real), product(a, b.imag))
        if not isinstance(b, Pair | complex):
            a = _parts_of(a)
            return Pair(product(a.real, b), product(a.imag, b))
        a, b = _parts_of(a), _parts_of(b)
        return Pair(
            product(a.real, b.real) - product(a.imag, b.imag),
            product(a.real, b.imag) + product(a.imag, b.real),
        )

    return multiplied


_times = _bilinear(operator.mul)


def _einsum(equation: str, operands: Sequence[Any], **_: Any) -> Pair:
    first, *others = operands
    if not others:
        return Pair(*(torch.einsum(equation, part) for part in first))
    if len(others) > 1:
        raise NotImplementedError("einsum of more than two operands")
    return _bilinear(lambda a, b: torch.einsum(equation, a, b))(first, *others)


def _sum(a: Any, b: Any, *, alpha: Any = 1) -> Pair:
    a, b = _parts_of(a), _times(_parts_of(b), alpha) if alpha != 1 else _parts_of(b)
    return Pair(a.real + b.real, a.imag + b.imag)


def _difference(a: Any, b: Any, *, alpha: Any = 1) -> Pair:
    return _sum(a, b, alpha=-alpha)


def _quotient(a: Any, b: Any) -> Pair:
    if isinstance(b, Pair | complex):
        return _times(a, _inverse(_parts_of(b)))
    a = _parts_of(a)
    return Pair(a.real / b, a.imag / b)


def _inverse(x: Pair) -> Pair:
    """1 / (a + bi) = (a - bi) / (a² + b²)."""
    size = x.real * x.real + x.imag * x.imag
    return Pair(x.real / size, -x.imag / size)


def _exponential(x: Pair) -> Pair:
    return _polar(torch.exp(x.real), x.imag)


def _polar(size: Tensor, angle: Tensor) -> Pair:
    return Pair(size * torch.cos(angle), size * torch.sin(angle))


def _power(x: Pair, exponent: Any) -> Pair:
    if exponent != 2:
        raise NotImplementedError(f"complex numbers to the power of {exponent}")
    return _times(x, x)


def _complex(real: Tensor, imag: Tensor) -> Pair:
    shape = torch.broadcast_shapes(real.shape, imag.shape)  # type: ignore[no-untyped-call]
    return Pair(torch.broadcast_to(real, shape), torch.broadcast_to(imag, shape))


def _copy(into: Any, x: Any, *_: Any) -> Any:
    shape = (into.real if isinstance(into, Pair) else into).shape
    parts = Pair(*(torch.broadcast_to(part, shape) for part in _parts_of(x)))
    return parts if isinstance(into, Pair) else parts.real


def _cast_to_complex(x: Any, *_: Any, **__: Any) -> Pair:
    return _parts_of(x if isinstance(x, Pair) else x.float())


def _cast_to_real(x: Pair, *_: Any, **__: Any) -> Tensor:
    real: Tensor = x.real
    return real


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_conj": lambda x: Pair(x.real, -x.imag),
    "abs": lambda x: hypot(x.real, x.imag),
    "add": _sum,
    "angle": lambda x: torch.atan2(x.imag, x.real),
    "bmm": _bilinear(torch.matmul),
    "complex": _complex,
    "conj_physical": lambda x: Pair(x.real, -x.imag),
    "copy": _copy,
    "div": _quotient,
    "einsum": _einsum,
    "exp": _exponential,
    "imag": lambda x: x.imag,
    "matmul": _bilinear(torch.matmul),
    "mm": _bilinear(torch.matmul),
    "mul": _times,
    "polar": _polar,
    "pow": _power,
    "real": lambda x: x.real,
    "reciprocal": _inverse,
    "resolve_conj": lambda x: x,
    "resolve_neg": lambda x: x,
    "rsub": lambda a, b, alpha=1: _difference(b, a, alpha=alpha),
    "square": lambda x: _times(x, x),
    "sub": _difference,
    "view_as_complex": lambda x: Pair(x.select(-1, 0), x.select(-1, 1)),
    "view_as_real": lambda x: torch.stack(list(x), -1),
}
"""Of the operators' own schemas; complex operands are pairs, others tensors or numbers."""
