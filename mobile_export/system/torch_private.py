"""PyTorch's private interfaces, each once. Imports torch.

What breaks when they change: passes and readers that ask whether a node calls an ATen operator
(`OpOverload`), the reader of .pt2 files (`Verifier`, `FakeTensorMode`), the float64 run
(`TorchDispatchMode`, `tree_map`), Core ML files of models with bicubic resizing (`decompositions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._decomp import get_decompositions
from torch._export.verifier import TrainingIRVerifier, Verifier
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = [
    "FakeTensorMode",
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "TrainingIRVerifier",
    "Verifier",
    "decompositions",
    "tree_map",
]


def decompositions(
    exported: torch.export.ExportedProgram, operators: Sequence[OpOverload]
) -> dict[Any, Any]:
    """PyTorch's own decompositions of those of ``operators`` that a program calls."""
    present = {node.target for node in exported.graph.nodes}
    return dict(get_decompositions([op for op in operators if op in present]))
