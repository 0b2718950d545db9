"""What cannot be lowered is refused by op, module and node."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mobile_export.errors import ExportError, LoweringError
from mobile_export.lowering.lower import lower
from tests.lowering.graphs import Calls, check, prepared
from tests.passes.graphs import program_of


class Nested(nn.Module):
    """Calls a function in ``stage.inner``."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.stage = nn.Sequential()
        self.stage.add_module("inner", Calls(function))

    def forward(self, x: torch.Tensor) -> object:
        return self.stage(x)


def refusal(function: Callable[..., object], shape: tuple[int, ...] = (1, 6, 8, 8)) -> str:
    with pytest.raises(LoweringError) as caught:
        lower(prepared(Nested(function), shape))
    assert isinstance(caught.value, ExportError)
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: torch.fft.fft2(x).real, ["aten.fft_fft2.default", "no rule"]),
        (lambda x: nn.functional.conv2d(x, x[0, :, None, :3, :3], groups=6), ["weight"]),
        (lambda x: nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), ["circular"]),
        (
            lambda x: x.reshape(1, -1).gather(1, x.reshape(1, -1).argsort(1).repeat(1, 20)),
            ["aten.gather", "computed"],
        ),
        (
            lambda x: nn.functional.grid_sample(
                x, x[:, :2].permute(0, 2, 3, 1).repeat(1, 200, 200, 1), align_corners=False
            ),
            ["aten.grid_sampler", "places that are computed would need 122880000 numbers"],
        ),
        (lambda x: x.abs().to(torch.uint8) + 200, ["aten.add", "uint8 begins again"]),
        (lambda x: x.long() << 1, ["there is no rule"]),
        (lambda x: torch.histc(x, 4), ["aten.histc", "no rule"]),
    ],
)
def test_refusal_names_op_module_and_reason(
    function: Callable[..., object], says: list[str]
) -> None:
    text = refusal(function)
    assert "'stage.inner'" in text
    for part in says:
        assert part in text


def test_batch_is_refused() -> None:
    with pytest.raises(LoweringError, match="one image at a time"):
        lower(prepared(Calls(lambda x: x.relu()), (2, 3, 4, 4)))


def test_what_nobody_uses_is_not_refused() -> None:
    check(Calls(lambda x: (x.sort(1), x.relu())[1]), (1, 6, 8, 8))


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: x.transpose(1, 2), "aten.transpose.int"),
        (lambda x: x.flatten(2), "aten."),
        (lambda x: torch.channel_shuffle(x, 2), "aten.channel_shuffle.default"),
    ],
)
def test_programs_whose_passes_have_not_run(function: Callable[..., object], op: str) -> None:
    program = program_of(Calls(function).eval(), (1, 6, 8, 8))
    with pytest.raises(LoweringError, match="which normalize_ops replaces") as caught:
        lower(program)
    assert op in str(caught.value)
    assert "run_passes" in (caught.value.hint or "")


def test_the_hint_names_no_format_that_was_not_tried() -> None:
    with pytest.raises(LoweringError) as caught:
        lower(prepared(Nested(lambda x: torch.histc(x, 4)), (1, 6, 8, 8)))
    assert caught.value.hint is not None
    assert not {"onnx", "coreml", "tflite", "ncnn", "tnn"} & set(
        caught.value.hint.lower().replace(",", " ").replace(".", " ").split()
    )
