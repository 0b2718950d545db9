"""onnxruntime's checker for its providers on phones: part of its package, not of its interface.

`onnxruntime.tools.mobile_helpers.usability_checker` prints what it finds; the figures are in names
that begin with an underscore.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PROVIDERS", "Partitions", "partitions_of"]

PROVIDERS = {
    "nnapi": ("nnapi_supported_ops.md", 999),
    "coreml": ("coreml_supported_mlprogram_ops.md", 5),
}
"""The table of operators of a provider, and the most axes that it takes, as the checker has it."""


@dataclass(frozen=True)
class Partitions:
    """What a provider would take of a graph, optimised as a phone does it.

    Attributes:
        nodes: of the graph and its subgraphs; taken: of those, by the provider.
        parts: connected groups of nodes that are taken.
        left: operators that are not taken, and how often.
        conditions: of operators that are taken, as "OPERATOR: text"; the checker does not look
            whether they hold.
    """

    nodes: int
    taken: int
    parts: int
    left: dict[str, int]
    conditions: tuple[str, ...]


def partitions_of(path: Path, provider: str) -> Partitions:
    """What a provider of `PROVIDERS` would take of an ONNX file."""
    import onnxruntime
    from onnxruntime.tools.mobile_helpers import usability_checker
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    table, rank = PROVIDERS[provider]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "optimized.onnx"
        optimize_model(path, place, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
        graph = ModelProtoWithShapeInfo(place).model_with_shape_info.graph
    operators = usability_checker._SupportedOpsChecker(
        Path(usability_checker.__file__).parent / table
    )
    found = usability_checker.check_partitioning(graph, operators, True, rank)
    taken = Counter(_spelled(node) for group in found.supported_groups for node in group)
    left = Counter(map(_spelled, graph.node)) - taken
    return Partitions(
        found.num_nodes,
        found.num_supported_nodes,
        found.num_partitions,
        dict(left.most_common()),
        tuple(_plain(text) for text in operators.get_caveats()),
    )


def _spelled(node: Any) -> str:
    return f"{node.domain}:{node.op_type}" if node.domain else str(node.op_type)


def _plain(text: str) -> str:
    """``ai.onnx:Conv: Only 2D Conv`` as one line without the domain."""
    operator, _, condition = text.removeprefix("ai.onnx:").partition(":")
    return f"{operator}: {' '.join(condition.split())}"
