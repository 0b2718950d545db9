"""PyTorch's private interfaces, each as it is used: a change of PyTorch says what broke."""

from __future__ import annotations

from typing import Any

import torch

from mobile_export.system.torch_private import (
    FakeTensorMode,
    OpOverload,
    OpOverloadPacket,
    TorchDispatchMode,
    TrainingIRVerifier,
    Verifier,
    compiled_method,
    core_decompositions,
    decompositions,
    trace_call,
    tree_map,
)

aten = torch.ops.aten


def test_operators_know_their_schema() -> None:
    assert isinstance(aten.relu.default, OpOverload)
    assert isinstance(aten.relu, OpOverloadPacket)
    assert aten.relu_.default._schema.is_mutable
    assert not aten.relu.default._schema.is_mutable
    assert torch.Tag.pointwise in aten.relu.default.tags


def test_a_mode_sees_every_operator() -> None:
    seen: list[Any] = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Spy():
        torch.relu(torch.ones(2))
    assert aten.relu.default in seen
    assert tree_map(lambda x: x + 1, {"a": [1, (2,)]}) == {"a": [2, (3,)]}


def test_fakes_have_shapes_and_no_values() -> None:
    with FakeTensorMode():
        assert torch.mm(torch.empty(2, 3), torch.empty(3, 4)).shape == (2, 4)


def test_verifiers_accept_what_torch_exports() -> None:
    exported = torch.export.export(torch.nn.ReLU(), (torch.ones(2),), strict=False)
    assert issubclass(TrainingIRVerifier, Verifier)
    TrainingIRVerifier().check(exported)


def test_only_operators_of_the_program_are_decomposed() -> None:
    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(x, x, x)

    exported = torch.export.export(Both(), (torch.ones(2),), strict=False)
    wanted = (aten.addcmul.default, aten.upsample_bicubic2d.vec)
    assert list(decompositions(exported, wanted)) == [aten.addcmul.default]


def test_a_call_is_traced_without_what_its_table_names() -> None:
    graph = trace_call(aten.hardshrink.default, [torch.ones(3)], core_decompositions())
    targets = [node.target for node in graph.nodes if node.op == "call_function"]
    assert aten.hardshrink.default not in targets
    assert aten.where.self in targets


def test_nothing_is_written_in_place() -> None:
    """``cosine_similarity`` clamps norms in place."""
    traced = trace_call(aten.cosine_similarity.default, [torch.ones(2, 3)] * 2, {})
    targets = [node.target for node in traced.nodes if node.op == "call_function"]
    assert not any(target._schema.is_mutable for target in targets)


def test_a_compiled_method_is_known() -> None:
    net = torch.nn.Linear(2, 3)
    method = net.forward
    assert compiled_method(torch.compile(method)) == method
    assert compiled_method(method) is None
