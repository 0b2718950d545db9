"""Capturing a model: names of outputs, static shapes, and what cannot be captured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from torch import nn

from mobile_export.api import prepare
from mobile_export.errors import SourceError, TraceError, UsageError
from mobile_export.graph.capture import flatten_outputs, trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.sources.labels import imagenet_labels
from tests.conftest import MultiOutput, make_source


def test_one_tensor_is_called_logits(program: Program) -> None:
    assert [(o.name, o.shape) for o in program.outputs] == [("logits", (1, 10))]


def test_names_of_nested_outputs() -> None:
    a, b, c = (torch.zeros(i + 1) for i in range(3))
    names, tensors = flatten_outputs({"x": a, "y": [b, {"z": c}], "again": a, "none": None})
    assert names == ("x", "y_0", "y_1_z")
    assert [t.numel() for t in tensors] == [1, 2, 3]
    assert flatten_outputs((a,))[0] == ("logits",)
    assert flatten_outputs((a, b))[0] == ("output_0", "output_1")
    assert flatten_outputs({"out": a})[0] == ("out",)


def test_a_dict_is_captured_flat_and_without_duplicates() -> None:
    program = trace(make_source(MultiOutput()))
    assert [(o.name, o.shape) for o in program.outputs] == [
        ("out", (1, 6)),
        ("features", (1, 6, 32, 32)),
    ]
    outputs = program.module()(torch.zeros(1, 3, 32, 32))
    assert [tuple(t.shape) for t in outputs] == [(1, 6), (1, 6, 32, 32)]


def test_the_captured_program_is_the_model_in_float64() -> None:
    source = make_source()
    program = trace(source)
    x = torch.randn(source.input.shape, dtype=torch.float64)
    expected = run_float64(double_copy(source.module), x)
    (got,) = run_float64(program.float64(), x)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_labels_are_as_many_as_the_classes() -> None:
    ten = tuple(f"class {i}" for i in range(10))
    source = make_source()
    assert trace(replace(source, labels=ten)).labels == ten
    assert trace(replace(source, labels=imagenet_labels())).labels is None, "features, not logits"
    with pytest.raises(UsageError, match="9 labels do not fit the 10 classes of TinyNet"):
        trace(replace(source, labels=ten[1:], labels_given=True))
    assert trace(replace(source, labels=ten[1:])).labels is None, "a guess of ours"
    several = make_source(MultiOutput())
    assert trace(replace(several, labels=ten)).labels == ten, "nobody knows which output they are"


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x.mean((2, 3))
        return x.amax((2, 3))


class Refusing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-1] == 48, f"I take 48, got {x.shape[-1]}"
        return x.mean((2, 3))


class NoTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> str:
        return "nothing"


def test_data_dependent_control_flow_is_named_with_its_line() -> None:
    with pytest.raises(
        TraceError, match=r"depends on the values of a tensor.*test_capture.py:\d+"
    ) as e:
        trace(make_source(Branching()))
    assert "torch.where" in str(e.value)


def test_a_size_that_the_model_refuses() -> None:
    with pytest.raises(SourceError, match=r"I take 48, got 32.*test_capture.py:\d+") as e:
        trace(make_source(Refusing()))
    assert "`size`" in str(e.value)
    assert trace(make_source(Refusing(), size=(48, 48))).outputs[0].shape == (1, 3)


def test_a_model_without_tensors() -> None:
    with pytest.raises(SourceError, match="returned no tensor"):
        trace(make_source(NoTensor()))


class Selecting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


class SelectingInside(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x[x >= 0].mean()


class Empty(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :0]


def test_what_has_no_static_shape_or_no_elements_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no elements"):
        trace(make_source(Selecting()))  # nothing is greater than 0 in the zero image
    with pytest.raises(TraceError, match=r"shape of a tensor .* depends on the values"):
        trace(make_source(SelectingInside()))
    with pytest.raises(SourceError, match=r"\(1, 0, 32, 32\): it has no elements"):
        trace(make_source(Empty()))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(x), self.conv(x), x.clone()]


def test_outputs_that_become_one_tensor_stay_outputs() -> None:
    module = Twice().eval()
    program = prepare(module, torch.zeros(1, 3, 8, 8))
    assert len(program.outputs) == 3
    x = torch.randn(1, 3, 8, 8)
    for got, expected in zip(program.module()(x), module(x), strict=True):
        torch.testing.assert_close(got, expected)


class WritesToItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x += 1
        x[:, 0] = x[:, 0] * 0.5
        return self.conv(x)


def test_a_model_that_writes_to_its_input() -> None:
    module = WritesToItsInput().eval()
    program = prepare(module, torch.zeros(1, 3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(program.module()(x.clone()), module(x.clone()))


class Filled(nn.Module):
    """A tensor that is made, and then written to through views of it."""

    def __init__(self, views: Callable[[torch.Tensor], Iterable[torch.Tensor]]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.views = views

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = self.conv(x).mean((2, 3))
        made = torch.zeros(x.shape[0], 4, dtype=x.dtype)
        for number, view in enumerate(self.views(made)):
            view.copy_(means[:, number : number + 1])
        return made


@pytest.mark.parametrize(
    "views",
    [
        lambda made: [made[:, 1:2]],
        lambda made: [made[:, 0][:, None], made[:, 3:]],
        lambda made: made.split(1, 1),
        lambda made: [made.view(1, 2, 2)[:, 1].view(1, 2, 1)],
    ],
    ids=["slice", "view of a view", "split", "reshaped"],
)
def test_an_output_that_is_made_and_then_filled(
    views: Callable[[torch.Tensor], Iterable[torch.Tensor]],
) -> None:
    module = Filled(views).eval()
    program = prepare(module, torch.zeros(1, 3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))


class FilledWithNothing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.zeros(1, 4)
        made[:, 0] = 1
        torch.zeros(1, 4).copy_(x.mean((2, 3))[:, :1])
        return made


def test_an_output_that_is_filled_with_what_is_stored_is_refused() -> None:
    with pytest.raises(SourceError, match="computes nothing from its image"):
        trace(make_source(FilledWithNothing()))


class SplitsByATensor(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor([1, 2]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.tensor_split(x, self.places, dim=1)


def test_indices_in_a_tensor_are_to_be_numbers() -> None:
    """They are stored: nothing depends on the image."""
    with pytest.raises(TraceError, match="depends on the values of a tensor") as error:
        trace(make_source(SplitsByATensor(), size=(4, 4)))
    assert "indices as Python numbers" in (error.value.hint or "")


def test_suppression_inside_a_model_is_answered_with_the_option() -> None:
    class Suppressing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(1)[:, :20].reshape(-1, 5)
            boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4].exp()], 1)
            kept = torchvision.ops.nms(boxes, rows[:, 4], 0.5)
            return boxes[kept]

    torchvision = pytest.importorskip("torchvision")
    with pytest.raises(TraceError) as caught:
        trace(make_source(Suppressing().eval(), (8, 8)))
    assert "`nms`" in str(caught.value.hint)
    assert "(1, N, 4)" in str(caught.value.hint)
