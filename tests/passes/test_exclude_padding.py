"""Average pools whose padding differs between axes; the oracle is eager PyTorch in float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export import api
from mobile_export.passes.exclude_padding import exclude_padding
from tests.passes.graphs import apply, ops

OTHER = "MOBILE_EXPORT_ONNXRUNTIME"
"""A folder with another onnxruntime (pip install --target), to judge the files too."""


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"),
    itertools.product([(3, 5), (2, 4)], [1, (2, 3)], [(1, 0), (0, 1), (1, 2)], [False, True]),
)
def test_every_pool(kernel: Any, stride: Any, padding: Any, ceil: bool) -> None:
    for size in ((6, 7), (8, 8)):
        pool = nn.AvgPool2d(kernel, stride, padding, ceil)
        result = apply(exclude_padding, pool, (1, 2, *size))
        assert ops(result.program) == {"avg_pool2d": 1, "mul": 1}
        (call,) = result.program.exported.graph.find_nodes(
            op="call_function", target=torch.ops.aten.avg_pool2d.default
        )
        assert call.args[-1] is False


@pytest.mark.parametrize("ceil", [False, True])
def test_volumes(ceil: bool) -> None:
    pool = nn.AvgPool3d((3, 4, 2), (2, 1, 3), (1, 2, 0), ceil)
    assert apply(exclude_padding, pool, (1, 2, 6, 7, 8)).changes


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d((3, 4), 2),
        nn.AvgPool2d((3, 5), 2, (1, 2), count_include_pad=False),
        nn.AvgPool2d((3, 5), 2, (1, 2), divisor_override=3),
    ],
)
def test_others_stay(pool: nn.Module) -> None:
    assert not apply(exclude_padding, pool, (1, 2, 8, 9)).changes


class Pools(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = nn.functional.avg_pool2d(x, (5, 1), 1, (2, 0))
        two = nn.functional.avg_pool2d(x, (3, 4), 2, (0, 1), True)
        return torch.cat([one.flatten(1), two.flatten(1)], 1).exp()


def test_the_files_count_no_padding(tmp_path: Path) -> None:
    """The installed onnxruntime judges the file, and the one in the folder `OTHER`, if any."""
    onnx = pytest.importorskip("onnx")
    report = api.export(Pools().eval(), ["onnx"], tmp_path, size=(6, 7))
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    pools = [n for n in onnx.load(artifact.path).graph.node if n.op_type == "AveragePool"]
    assert len(pools) == 2
    for pool in pools:
        values = {a.name: onnx.helper.get_attribute_value(a) for a in pool.attribute}
        assert values.get("count_include_pad", 0) == 0
    if OTHER in os.environ:
        x = torch.randn(1, 3, 6, 7)
        np.save(tmp_path / "x.npy", x.numpy())
        run = (
            "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np, onnxruntime as o; "
            "s = o.InferenceSession(sys.argv[2], providers=['CPUExecutionProvider']); "
            "np.save(sys.argv[4], s.run(None, {s.get_inputs()[0].name: np.load(sys.argv[3])})[0])"
        )
        paths = [
            os.environ[OTHER],
            str(artifact.path),
            *(str(tmp_path / n) for n in ("x.npy", "y")),
        ]
        subprocess.run([sys.executable, "-c", run, *paths], check=True)
        got = torch.from_numpy(np.load(tmp_path / "y.npy"))
        torch.testing.assert_close(got, Pools()(x))
