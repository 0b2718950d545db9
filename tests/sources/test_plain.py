"""Modules as people have them: wrapped, compiled, in TorchScript, in half precision, quantised.

Expected are the eager outputs of the module before it was wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.errors import SourceError
from mobile_export.graph.capture import trace
from mobile_export.operators.decompose import decompose
from mobile_export.sources.plain import plain_module
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source

X = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class _Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(x)


def _net() -> _Net:
    torch.manual_seed(0)
    return _Net().eval()


def _captured(module: nn.Module) -> torch.Tensor:
    """What the captured program returns."""
    program = trace(load_source(ModelRequest.of(module, size=16)))
    with torch.no_grad():
        result = program.module()(X)
    return result[0] if isinstance(result, list | tuple) else result


def _forward_compiled(net: nn.Module) -> nn.Module:
    """As transformers' manual compiles a model."""
    copy = deepcopy(net)
    copy.forward = torch.compile(copy.forward)  # type: ignore[method-assign]
    return copy


WRAPPERS: list[Callable[[nn.Module], Any]] = [
    torch.compile,
    nn.DataParallel,
    lambda net: torch.compile(nn.DataParallel(net)),
    _forward_compiled,
    torch.jit.script,
    lambda net: torch.jit.trace(net, X),
    lambda net: net.to(memory_format=torch.channels_last),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrapped_is_what_is_captured(wrap: Callable[[nn.Module], Any]) -> None:
    net = _net()
    with torch.no_grad():
        exact = net(X)
    wrapped = wrap(net)
    torch.testing.assert_close(_captured(wrapped), exact)
    torch.testing.assert_close(_captured(_Outer(wrapped)), 2 * exact)


def test_parts_of_a_model_are_unwrapped_and_it_is_said() -> None:
    notes: list[str] = []
    outer = _Outer(torch.compile(nn.DataParallel(_net()))).eval()
    module = plain_module(outer, "mine", notes)
    assert type(module.inner) is _Net
    assert "OptimizedModule, DataParallel" in notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_exactly(dtype: torch.dtype) -> None:
    weight = _net().to(dtype).conv.weight.detach().clone()
    source = load_source(ModelRequest.of(_net().to(dtype), size=16))
    held = dict(source.module.named_parameters())
    found = next(value for name, value in held.items() if name.endswith("conv.weight"))
    assert torch.equal(found, weight.float())
    assert any("to float32, exactly" in note for note in source.weights.notes)


def test_weights_of_torchao_are_the_numbers_that_they_stand_for() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 16)).eval()
    quantization.quantize_(net, quantization.Int8WeightOnlyConfig())
    weight = net[1].weight
    exact = weight.qdata.double() * weight.scale.double().reshape(-1, 1)
    notes: list[str] = []
    module = plain_module(net, "mine", notes)
    assert type(module[1].weight.data) is torch.Tensor
    torch.testing.assert_close(module[1].weight.double(), exact, rtol=1e-7, atol=0)
    assert "torchao's Int8Tensor" in notes[0]


def test_quantised_activations_are_refused_by_name() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 16)).eval()
    quantization.quantize_(net, quantization.Int8DynamicActivationInt8WeightConfig())
    with pytest.raises(SourceError, match="Int8Tensor, which quantises activations"):
        plain_module(net, "mine", [])


@pytest.mark.filterwarnings("ignore")
def test_quantised_modules_are_refused_by_name() -> None:
    dynamic = torch.ao.quantization.quantize_dynamic(_net(), {nn.Linear})
    with pytest.raises(SourceError, match=r"head is torch\.ao\.nn\.quantized\.dynamic"):
        plain_module(dynamic, "mine", [])
    learning = _Net().train()
    learning.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    torch.ao.quantization.prepare_qat(learning, inplace=True)
    with pytest.raises(SourceError, match=r"weight_fake_quant is .*FakeQuantize"):
        plain_module(learning, "mine", [])


def test_a_program_in_place_of_a_module_is_told_its_way() -> None:
    program = torch.export.export(_net(), (X,))
    for made in (program, program.module()):
        with pytest.raises(SourceError, match=r"name that file"):
            plain_module(made, "mine", [])


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = _net()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.net(x)


def test_a_buffer_that_forward_changes_is_named() -> None:
    program = trace(load_source(ModelRequest.of(_Counting().eval(), size=16)))
    assert any("changes calls" in note for note in program.notes)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_written_out_convolution_is_a_plain_one(transposed: bool) -> None:
    weight = torch.rand(3, 4, 3, 3) if transposed else torch.rand(4, 3, 3, 3)

    class Raw(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            extra = [1, 1] if transposed else [0, 0]
            return torch.ops.aten._convolution.default(
                x, weight, None, [2, 2], [1, 1], [1, 1], transposed, extra, 1,
                False, False, True, True,
            )  # fmt: skip

    function = nn.functional.conv_transpose2d if transposed else nn.functional.conv2d
    more = {"output_padding": 1} if transposed else {}
    program = decompose(trace(load_source(ModelRequest.of(Raw(), size=16))), frozenset()).program
    called = {str(node.target) for node in program.exported.graph.nodes}
    assert not any("_convolution" in name for name in called)
    result = program.module()(X)
    result = result[0] if isinstance(result, list | tuple) else result
    torch.testing.assert_close(result, function(X, weight, stride=2, padding=1, **more))


@pytest.mark.parametrize("freeze", [torch.jit.freeze, torch.jit.optimize_for_inference])
@pytest.mark.filterwarnings("ignore")
def test_frozen_torchscript_is_refused(freeze: Callable[[Any], Any]) -> None:
    """Its attribute ``training`` is gone, and so are its parameters."""
    frozen = freeze(torch.jit.script(_net()))
    for module in (frozen, _Outer(frozen)):
        with pytest.raises(SourceError, match="frozen TorchScript") as caught:
            load_source(ModelRequest.of(module, size=16))
        assert "torch.jit.freeze" in (caught.value.hint or "")


class _Encoder(nn.Module):
    """Words with padding behind them, as text encoders take it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        padding = ids == 0
        x = self.layers(self.table(ids), src_key_padding_mask=padding)
        return x.masked_fill(padding.unsqueeze(-1), 0.0)


def test_padding_makes_no_nested_tensors() -> None:
    """PyTorch cuts it off by nested tensors, which fails where all words are padding."""
    torch.manual_seed(0)
    net = _Encoder().eval()
    ids = torch.tensor([[3, 7, 0, 0]])
    with torch.no_grad():
        exact = net(ids)
    program = trace(load_source(ModelRequest.of(net, input={"ids": ((1, 4), "int64")})))
    with torch.no_grad():
        got = program.module()(ids)
    torch.testing.assert_close(got, exact, atol=1e-5, rtol=0)


class _InDouble(nn.Module):
    """A part in float64 whose input is cast for it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).double()).float()


def test_a_forward_that_casts_to_a_type_of_the_weights_as_they_were() -> None:
    source = load_source(ModelRequest(_InDouble().eval(), size=(16, 16)))
    with pytest.raises(SourceError) as caught:
        trace(source)
    assert "converted from float64 to float32" in str(caught.value.hint)
    assert ".double()" in str(caught.value.hint)
