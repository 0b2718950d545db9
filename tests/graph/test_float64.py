"""Everything is float64 under the mode, whatever the code asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mobile_export.errors import SourceError
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.system.threads import one_thread


class Careless(nn.Module):
    """Code that brings float32 and float16 back in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.table = torch.linspace(0, 1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x.float())
        x = (x.half() * torch.ones(4, dtype=torch.float16)).to(torch.float32)
        return x + self.table + torch.arange(4) + torch.zeros(4)


def test_no_precision_is_lost() -> None:
    torch.manual_seed(0)
    module = Careless()
    x = torch.randn(2, 4, dtype=torch.float64)
    result = run_float64(double_copy(module), x)
    weight, bias = (p.detach().double() for p in (module.linear.weight, module.linear.bias))
    expected = x @ weight.T + bias + module.table.double() + torch.arange(4)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "literal",
    [
        lambda x: torch.as_tensor([0.1, 0.7], dtype=x.dtype),
        lambda x: torch.tensor([0.1, 0.7], dtype=x.dtype),
        lambda x: torch.tensor(data=[0.1, 0.7], dtype=x.dtype),
        lambda x: torch.asarray([0.1, 0.7], dtype=x.dtype),
        lambda x: x.new_tensor([0.1, 0.7]),
        lambda x: torch.tensor([0.1, 0.7]),
    ],
    ids=["as_tensor", "tensor", "by name", "asarray", "new_tensor", "without a dtype"],
)
def test_numbers_are_those_of_the_float32_model(
    literal: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    expected = torch.tensor([0.1, 0.7]).double()
    assert torch.equal(run_float64(literal, torch.zeros(1)), expected)


def test_a_float64_that_the_code_asks_for_is_kept() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x.double() * torch.tensor([0.1, 0.7], dtype=torch.float64)

    expected = torch.tensor([0.1, 0.7], dtype=torch.float64)
    assert torch.equal(run_float64(double, torch.ones(1)), expected)


def test_the_code_sees_the_dtype_of_the_model() -> None:
    seen = []
    run_float64(lambda x: seen.append((x.dtype, (x * 2).dtype)), torch.ones(1))
    assert seen == [(torch.float32, torch.float32)]


def test_tensors_are_not_rounded() -> None:
    x = torch.rand(3, dtype=torch.float64)
    assert torch.equal(run_float64(lambda y: torch.as_tensor(y, dtype=y.dtype), x), x)


def test_the_original_is_untouched() -> None:
    module = Careless()
    double_copy(module)
    assert module.linear.weight.dtype == torch.float32


def test_one_thread_is_restored() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


class Keeps(nn.Module):
    """Keeps results of earlier calls, with their history."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.utils.weight_norm(nn.Linear(4, 4))
        self.last: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last.append(self.linear(x))
        return self.last[-1]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_copy_of_a_module_that_fx_traced_is_in_eval_mode_too() -> None:
    """torch.fx's own copy of torchvision's feature extractors normalises by the batch."""
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 4, 1))
    module = extraction.create_feature_extractor(net.eval(), {"1": "norm", "3": "last"})
    made, x = double_copy(module), torch.randn(1, 3, 8, 8)
    assert not any(child.training for child in made.modules())
    wanted = {"norm": net[1](net[0](x)), "last": net[3](net[1](net[0](x)))}
    for name, value in made(x.double()).items():
        torch.testing.assert_close(value.float(), wanted[name])


def test_results_kept_from_earlier_calls_do_not_prevent_a_copy() -> None:
    module = Keeps()
    x = torch.randn(2, 4)
    expected = module(x)
    result = run_float64(double_copy(module), x)
    torch.testing.assert_close(result.float(), expected)
    assert len(module.last) == 1
    assert module.last[0].grad_fn is not None


def test_what_cannot_be_copied_is_a_named_error() -> None:
    module = nn.Linear(4, 4)
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(SourceError, match=r"Linear cannot be copied.*lock"):
        double_copy(module)


def test_the_input_is_not_written_to() -> None:
    x = torch.zeros(2, dtype=torch.float64)
    assert run_float64(lambda given: given.add_(1), x).tolist() == [1, 1]
    assert x.tolist() == [0, 0]


def test_an_rms_norm_without_an_epsilon_has_that_of_float32() -> None:
    """As the model has; float64's would change what small activations are divided by."""
    x = torch.linspace(1, 4, 4).double() * 1e-4
    exact = x / (x.square().mean() + torch.finfo(torch.float32).eps).sqrt()
    norm = nn.RMSNorm(4)
    captured = torch.export.export(norm, (x.float(),)).module()
    for call in (norm.double(), double_copy(captured), lambda y: torch.rms_norm(y, (4,))):
        torch.testing.assert_close(run_float64(call, x), exact, rtol=1e-12, atol=0)
    given = run_float64(lambda y: torch.rms_norm(y, (4,), None, 1e-3), x)
    torch.testing.assert_close(given, x / (x.square().mean() + 1e-3).sqrt(), rtol=1e-12, atol=0)


class Watched(nn.Module):
    """Returns what hooks keep, which are closures: over the module, over a dictionary, by default
    argument, and inside another function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.seen: dict[str, torch.Tensor] = {}
        seen = self.seen

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, given: object, result: torch.Tensor) -> None:
                seen[name] = result

            return hook

        self.first.register_forward_hook(keep("first"))
        self.second.register_forward_hook(lambda *args, net=self: net.seen.update(second=args[2]))
        self.first.register_forward_pre_hook(lambda _, given: (given[0] * self.second.bias[0],))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.second(self.first(x))
        return self.seen["first"], self.seen["second"]


def test_hooks_of_a_copy_see_the_copy() -> None:
    torch.manual_seed(0)
    module = Watched().eval()
    x = torch.randn(1, 3)
    wanted = module(x)
    made = double_copy(module)
    kept = {name: value.clone() for name, value in module.seen.items()}
    for got, exact in zip(run_float64(made, x * 2), module(x * 2), strict=True):
        torch.testing.assert_close(got.float(), exact)
    module(x)
    run_float64(made, x * 3)
    assert all(torch.equal(module.seen[name], kept[name]) for name in kept)
    assert torch.equal(wanted[0], kept["first"])


def test_views_of_captured_graphs_do_not_depend_on_strides() -> None:
    def turned(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten.view.default(x.permute(0, 2, 1), [1, 6])

    x = torch.arange(6.0, dtype=torch.float64).reshape(1, 2, 3)
    assert run_float64(turned, x).tolist() == [[0, 3, 1, 4, 2, 5]]
