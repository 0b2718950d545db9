"""A pad in front of a max pool: by onnxruntime old and new, with and without its optimisations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export import api
from mobile_export.passes.guard_padding import guard_padding
from tests.passes.graphs import apply, ops

PADS = ((0, 1, 0, 1), (1, 0, 2, 1), (0, 0, 1, 1))


class Net(nn.Module):
    """A convolution, a pad of ``value`` and a max pool, as in HGNetV2's stem."""

    def __init__(
        self,
        pad: tuple[int, ...] = PADS[0],
        value: float = 0.0,
        relu: bool = False,
        kernel: int = 2,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        nn.init.constant_(self.conv.bias, -3.0)  # below zero nearly everywhere
        self.pad, self.value, self.relu, self.kernel = pad, value, relu, kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x).relu() if self.relu else self.conv(x)
        return F.max_pool2d(F.pad(y, self.pad, value=self.value), self.kernel, stride=1)


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("value", [0.0, 0.5, -2.0])
def test_the_pad_is_a_concatenation(pad: tuple[int, ...], value: float) -> None:
    counts = ops(apply(guard_padding, Net(pad, value).eval(), (1, 3, 8, 8)).program)
    assert counts["cat"] == sum(any(pad[axis : axis + 2]) for axis in (0, 2))
    assert not counts["pad"] + counts["constant_pad_nd"]


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (Net(relu=True), "nothing is below zero"),
        (Net(value=-float("inf")), "it is what the pool pads with"),
        (Net((-1, 0, 0, 1)), "a side is cut"),
    ],
)
def test_what_stays_a_pad(net: Net, why: str) -> None:
    assert apply(guard_padding, net.eval(), (1, 3, 8, 8)).changes == (), why


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (Net(relu=True, value=1.0), "the padding is above what it pads"),
        (Net((2, 0, 0, 0), relu=True), "a window lies in the padding alone"),
    ],
)
def test_a_relu_before_it_is_not_always_enough(net: Net, why: str) -> None:
    assert apply(guard_padding, net.eval(), (1, 3, 8, 8)).changes != (), why


# The oldest and the newest version that the format's row allows: phones carry old ones.
RUN = """
import json, sys
import numpy as np, onnxruntime as ort
x = np.load(sys.argv[2])
print(json.dumps({"version": ort.__version__}))
for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    print(json.dumps(session.run(None, {"image": x})[0].tolist()))
"""


@pytest.fixture(scope="module", params=["1.22.*", ">=1.22,<2"], ids=["oldest", "newest"])
def onnxruntime_folder(request: pytest.FixtureRequest) -> Path:
    """A folder that holds one version of onnxruntime, kept between runs in the temporary folder."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / (
        "mobile-export-ort-" + "".join(c for c in request.param if c.isalnum())
    )
    if not (folder / "onnxruntime").is_dir():
        spec = request.param if request.param[0] == ">" else f"=={request.param}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        done = subprocess.run(
            [*command, str(folder), f"onnxruntime{spec}"], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"onnxruntime{spec} cannot be installed here: {done.stderr[-200:]}")
    return folder


@pytest.mark.parametrize("pad", PADS[:2])
def test_every_onnxruntime_computes_it(
    pad: tuple[int, ...], onnxruntime_folder: Path, tmp_path: Path
) -> None:
    import numpy as np

    torch.manual_seed(0)
    net = Net(pad).eval()
    file = api.export(net, ("onnx",), tmp_path, name="net", size=8, channels=3).artifacts[0].path
    image = torch.randn(1, 3, 8, 8)
    np.save(tmp_path / "x.npy", image.numpy())
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), str(tmp_path / "x.npy")],
        env={**os.environ, "PYTHONPATH": str(onnxruntime_folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    version, *results = [json.loads(line) for line in done.stdout.splitlines()]
    with torch.no_grad():
        exact = net.double()(image.double())
    for level, result in zip(("none", "basic", "all"), results, strict=True):
        error = (torch.tensor(result, dtype=torch.float64) - exact).abs().max()
        assert error < 1e-5, f"onnxruntime {version['version']}, optimisations: {level}"
