"""Small programs to run passes on, and the oracles that every pass answers to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.graph.specs import InputSpec, WeightsInfo
from mobile_export.passes import EXACT, Pass, PassResult
from mobile_export.passes.normalize_ops import normalize_ops


def busy(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` in eval mode with random norm statistics and weights."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.running_mean is not None:
            child.running_mean.normal_(0, 0.5, generator=generator)
            child.running_var.uniform_(0.3, 2.0, generator=generator)
            if child.affine:
                nn.init.uniform_(child.weight, -1.5, 1.5, generator=generator)
                nn.init.normal_(child.bias, std=0.5, generator=generator)
    return module.eval()


def program_of(module: nn.Module, shape: Sequence[int]) -> Program:
    """The captured program of ``module`` for an input of any shape."""
    exported = torch.export.export(module, (torch.zeros(tuple(shape)),), strict=False)
    spec = InputSpec(tuple(shape), (0.0,), (1.0,))  # type: ignore[arg-type]
    return Program(exported, "test", spec, (), None, WeightsInfo("own"))


def ops(program: Program) -> Counter[str]:
    """How often each ATen op is called: ``conv2d``, ``add``, …"""
    return Counter(
        str(node.target).split(".")[1] if "aten" in str(node.target) else "getitem"
        for node in program.exported.graph.nodes
        if node.op == "call_function"
    )


def multiplications(program: Program | nn.Module, shape: Sequence[int]) -> int:
    """Of one run, in products, convolutions and linear layers, by PyTorch's own counter."""
    module = program.in_float32().module() if isinstance(program, Program) else program
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(tuple(shape)))
    return counter.get_total_flops() // 2


def error_of(program: Program, module: nn.Module, seed: int = 0) -> float:
    """Largest float64 error against the eager module, relative to its largest output."""
    x = torch.randn(
        program.input.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    exact = flatten_outputs(run_float64(double_copy(module), x))[1]
    got = run_float64(program.float64(), x)
    assert [tuple(a.shape) for a in got] == [tuple(b.shape) for b in exact]
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-300))
        for a, b in zip(got, exact, strict=True)
    )


def _snapshot(program: Program) -> tuple[str, dict[str, torch.Tensor]]:
    tensors = {**program.exported.state_dict, **program.exported.constants}
    return str(program.exported.graph), {k: v.detach().clone() for k, v in tensors.items()}


def apply(
    function: Pass, module: nn.Module, shape: Sequence[int], *, normalize: bool = True
) -> PassResult:
    """Run a pass on ``module`` and hold it to what every pass promises.

    The input program is unchanged, the result equals the eager module in float64, runs in float32,
    and a second run changes nothing.
    """
    program = program_of(module, shape)
    if normalize:
        program = normalize_ops(program).program
    graph, tensors = _snapshot(program)
    result = function(program)
    again_graph, again_tensors = _snapshot(program)
    assert again_graph == graph, "the pass changed the graph that it was given"
    assert tensors.keys() == again_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, again_tensors[name]), f"the pass wrote to {name}"
    assert error_of(result.program, module) <= EXACT
    second = function(result.program)
    assert second.changes == ()
    assert second.program is result.program
    rounded = result.program.in_float32()
    torch.export.export(rounded.module(), (torch.zeros(tuple(shape)),), strict=False)
    return result


def reasons(result: PassResult) -> str:
    """All reasons of refusal, in one text."""
    return "\n".join(refusal.reason for refusal in result.refusals)
