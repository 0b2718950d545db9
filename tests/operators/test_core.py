"""Decompositions against eager PyTorch in float64, on PyTorch's own samples.

Tests mobile_export/operators/{core,decompose,elements,indexing,inline,ordering,sums}.py: each model
of one operator is captured, written in core operators, and executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.exporters.table import FORMATS
from mobile_export.graph.capture import trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.operators import decompose
from mobile_export.operators.core import CORE, conversion_error, is_core
from mobile_export.operators.decompose import OPERATORS, needs_decomposing, rule_of
from mobile_export.parity.compare import compare
from mobile_export.passes.normalize_ops import normalize_ops
from tests.conftest import make_source

aten = torch.ops.aten

_NAMES = """
    addbmm angle aminmax _native_batch_norm_legit bucketize copysign count_nonzero cummax
    cumprod diag_embed diagonal_scatter dist fmod heaviside hypot index_add index_copy
    index_fill index_reduce.amax index_reduce.mean kthvalue linalg.matrix_power logaddexp2
    logcumsumexp logical_xor logit masked_scatter median mode msort nan_to_num
    nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d nn.functional.bilinear
    nn.functional.celu nn.functional.interpolate.trilinear nn.functional.logsigmoid
    nn.functional.max_pool2d nn.functional.max_unpool2d nn.functional.pad.replicate_negative
    nn.functional.softshrink
    prod put quantile remainder rot90 scatter scatter_reduce.prod sinc sort std_mean
    take_along_dim topk trunc unfold xlogy
"""
SAMPLED = _NAMES.split()


def core(program: Program) -> Program:
    """``program`` in core operators."""
    for _ in range(8):
        program = normalize_ops(program).program
        result = decompose(program)
        program = result.program
        if not result.changes:
            return program
    raise AssertionError("decompositions that never end")


def hold(benchmark: Any, info: Any, samples: int) -> int:
    """Compare up to ``samples`` samples of an operator in float64; how many there were."""
    count = 0
    for facts, module, size in benchmark.models(info, samples):
        program = core(trace(benchmark.source_of("op", module, size)))
        image = benchmark._images(size)[0]
        got = [t.detach().numpy() for t in run_float64(program.float64(), image)]
        exact = benchmark._run(benchmark.double_copy(module), image)
        errors = [compare(g, e).max_rel for g, e in zip(got, exact, strict=True)]
        assert max(errors) < 1e-9, (facts["call"], errors)
        count += 1
    return count


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sample(benchmark: Any, table: dict[str, Any], name: str) -> None:
    assert hold(benchmark, table[name], 1) == 1


@pytest.mark.matrix
def test_every_sample(benchmark: Any, table: dict[str, Any]) -> None:
    for name, info in table.items():
        if benchmark.kind_of(name) != "shapes or control flow by values":
            hold(benchmark, info, 4)


class Calls(nn.Module):
    """The image, and a function of it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


_VARIANCES = torch.tensor([0.5, 2.0, 3.0])
_BLIND = torch.ones(32, 32, dtype=torch.bool).tril(-3)
"""The first three queries see no key."""


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.clone().zero_() + x,
        lambda x: torch.logical_or(x > 0, x < -1).float() * x,
        lambda x: aten.copy(x, x.new_tensor(7.0)) * x,
        lambda x: x @ x[0, 0, 0] + x[0, 0, 0] @ x,
        lambda x: torch.median(x, dim=2).values,
        lambda x: torch.nn.functional.conv3d(x.reshape(3, 8, 8, 16), torch.ones(2, 3, 3, 3, 3)),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=1.3, mode="bilinear"),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=0.7),
        lambda x: x.unfold(2, 3, 2),
        lambda x: torch.diagonal(x, 1, 2, 3),
        lambda x: torch.cdist(x[0, 0], x[0, 0, :5]),
        lambda x: torch.nn.functional.grid_sample(
            x.reshape(1, 3, 4, 8, 32), x.tanh().reshape(1, 4, 8, 32, 3), padding_mode="border"
        ),
        lambda x: (
            torch.div(x.flatten(1).argmax(1), 32, rounding_mode="floor").to(x.dtype) + x.mean()
        ),
        lambda x: torch.instance_norm(
            x, None, None, x.new_ones(3), _VARIANCES, False, 0.1, 1e-5, False
        ),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x.flip(2), x, _BLIND),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x, _BLIND.float().log()),
    ],
)
def test_a_call(function: Any) -> None:
    source = make_source(Calls(function), (32, 32))
    program = core(trace(source))
    image = torch.randn(source.input.shape, generator=torch.Generator().manual_seed(1))
    [got] = run_float64(program.float64(), image)
    exact = run_float64(double_copy(source.module), image)
    assert compare(got.numpy(), exact.detach().numpy()).max_rel < 1e-9
    for node in program.exported.graph.nodes:
        assert is_core(node.target) or node.target not in OPERATORS or _is_plain_pool(node), node


def _is_plain_pool(node: torch.fx.Node) -> bool:
    """A pool whose indices nobody reads, which `normalize_ops` writes as one without."""
    read = [each.args[1] for each in node.users if each.users]
    return "max_pool" in str(node.target) and read == [0]


def _far(x: torch.Tensor) -> torch.Tensor:
    """Numbers that float16 does not hold."""
    return (x.abs() + 2) * 1e5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: -_far(x).cummin(3)[0],
        lambda x: (-_far(x)).cummax(3)[0],
        lambda x: _far(x).cummin(3)[0],
        lambda x: torch.nn.functional.max_pool2d(-_far(x), 3, 2, 1, return_indices=True)[0],
        lambda x: torch.nn.functional.max_pool2d(-_far(x), 3, 2, 1, return_indices=True)[1],
    ],
)
def test_a_call_with_values_beyond_float16(function: Any) -> None:
    """What fills up a scan or a window is below or above all float32 numbers."""
    test_a_call(function)


def _assigned(place: Any, value: Any) -> Any:
    """``y[place] = value``, of a copy of the image; ``place`` may be computed from it."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[place(x) if callable(place) else place] = value(x) if callable(value) else value
        return y

    return function


_MASK = torch.arange(32) % 3 == 0
_ROWS, _COLUMNS = torch.triu_indices(32, 32, 20)


@pytest.mark.parametrize(
    "function",
    {
        "elements of a computed mask": _assigned(lambda x: x < -0.5, -0.5),
        "pixels of a computed mask": _assigned(
            lambda x: (slice(None), slice(None), x[0, 0] < 0), 2.0
        ),
        "rows of a stored mask": _assigned((..., _MASK, slice(None)), lambda x: x[0, 0, :1]),
        "in order of a mask": _assigned(lambda x: x >= -99, lambda x: x.flip(3).flatten()),
        "a list": _assigned((slice(None), [2, 0]), lambda x: x[:, [0, 1]] * 2),
        "a list with one twice": _assigned((slice(None), [-1, 0, 2]), lambda x: x * 2),
        "two lists": _assigned((..., _ROWS, _COLUMNS), lambda x: x[..., _COLUMNS, _ROWS]),
        "a computed place": _assigned(
            lambda x: (slice(None), slice(None), x[0, 0].argmax(0)[:1]), lambda x: x[:, :, 3:4]
        ),
        "every third column": _assigned(
            (..., slice(2, 6), slice(1, None, 3)), lambda x: x[0, 0, 0, 0]
        ),
        "neighbours": _assigned((..., slice(3, -2)), lambda x: x[..., :27]),
        "everything": _assigned((..., slice(None)), lambda x: x.flip(3)),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_assignments(function: Any) -> None:
    """A mask is `where`, stored places are a choice of rows (coremltools 1065, 1182, 2188)."""
    test_a_call(function[1])
    program = core(trace(make_source(Calls(function[1]), (32, 32))))
    left = {aten.index_put.default, aten.slice_scatter.default, aten.masked_scatter.default}
    assert left.isdisjoint(node.target for node in program.exported.graph.nodes)


@pytest.mark.parametrize(
    "function",
    [
        _assigned(lambda x: x < -0.5, -0.5),
        _assigned((..., slice(None, None, 2)), 0.0),
        lambda x: (x * 2).remainder_(0.3),
    ],
)
def test_what_is_written_in_place_is_seen(function: Any) -> None:
    assert needs_decomposing(trace(make_source(Calls(function), (32, 32))))


def test_the_core_set_is_of_aten() -> None:
    assert [name for name in CORE if not hasattr(aten, name)] == []


def test_what_a_format_takes_is_left() -> None:
    assert rule_of(aten.sort.default) is not None
    assert rule_of(aten.sort.default, ("sort",)) is None
    assert rule_of(aten.relu.default) is None


def message(program: Program, said: str) -> str:
    error = conversion_error(program, "Title", "tool", RuntimeError(said))
    assert "verbose" in str(error.hint)
    return error.message


def test_what_core_ml_refuses_has_its_line() -> None:
    function = torch.nn.functional.max_pool2d
    program = core(trace(make_source(Calls(lambda x: function(x, 3, 2, 1, 2)), (32, 32))))
    found = message(program, "ValueError: @max_pool does not support dilation > 1.")
    assert found.startswith("tool does not write aten.max_pool2d at max_pool2d")
    assert "ValueError" not in found


def test_what_no_format_has_has_its_line() -> None:
    """PyTorch writes some operators in others that are not of ATen."""
    program = core(trace(make_source(Calls(lambda x: torch.special.erfinv(x.tanh())), (32, 32))))
    for said in ("No ONNX function for op='prims.erf_inv'", "Lowering not found: prims.erf_inv."):
        assert "erf_inv" in message(program, said)
        assert "test_core.py" in message(program, said)
    assert "test_core.py" in message(program, "something failed")


@pytest.mark.parametrize(
    "said",
    [
        "No ONNX function found for <OpOverload(op='aten.cumsum', overload='default')>",
        "Unsupported fx node cumsum, kind cumsum",
        "PyTorch convert function for op 'cumsum' not implemented.",
    ],
)
def test_what_a_converter_refuses_has_its_line(said: str) -> None:
    program = core(trace(make_source(Calls(lambda x: x.relu().cumsum(1).to(x.dtype)), (32, 32))))
    found = message(program, said)
    assert found.startswith("tool does not write aten.cumsum")
    assert "test_core.py" in found
    assert "relu" not in found
    said = "nothing to add, where to index or select"
    assert message(program, said) == f"tool cannot convert {program.spec}: RuntimeError: {said}."


def test_what_litert_has_no_kernel_for_is_said_in_words() -> None:
    program = core(trace(make_source(Calls(lambda x: x.relu()), (32, 32))))
    said = (
        "Failed to run converter passes: <eval_with_key>.3:8:0: error: failed to legalize "
        "operation 'tfl.maximum' that was explicitly marked illegal: %8 = \"tfl.maximum\"(%7, %2)"
        " : (tensor<1x3x32x32xi16>, tensor<i16>) -> tensor<1x3x32x32xi16>"
    )
    assert message(program, said) == (
        "Title has no maximum of int16 with 4 axes, as which tool would write a call of "
        f"{program.spec}."
    )


def test_the_documentation_names_all_of_it() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
    assert [name for name in CORE if f"| `{name}` |" not in text] == []
    ours = {target._schema.name.split("::")[1] for target in OPERATORS}
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_the_documentation_names_what_formats_take_themselves() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
    line = next(line for line in text.splitlines() if "PassChoice.native" in line)
    for row in FORMATS:
        if row.made_from == "program":
            part = line[line.index(f"{row.title} ") :].partition(";")[0]
            assert part == f"{row.title} " + ", ".join(f"`{name}`" for name in row.passes.native)
