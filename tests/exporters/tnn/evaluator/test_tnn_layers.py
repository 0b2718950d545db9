"""Every layer of the evaluator against what TNN itself computed.

``vendor.npz`` holds, per case, a network of one layer (``proto`` and ``model`` are the bytes of its
two files), its inputs and the outputs of TNN's reference device (``DEVICE_NAIVE``). It was recorded
with TNN built for x86-64 from its public source, commit f0cb08129a05c5b60f08e4ef66042a54a883a56a: a
small C++ program loads the two files, sets the inputs as NCHW float matrices, runs the network and
writes every output blob. Weights and inputs are multiples of 1/8 from a seeded generator, positive
where the function needs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobile_export.exporters.tnn.evaluator import load_network
from mobile_export.exporters.tnn.evaluator.table import LAYERS
from mobile_export.exporters.tnn.evaluator.weights import _FIELDS

VENDOR = np.load(Path(__file__).parent / "vendor.npz")
CASES = sorted({key.split("/")[0] for key in VENDOR.files})


def blobs(case: str, kind: str) -> dict[str, np.ndarray]:
    prefix = f"{case}/{kind}/"
    return {key.removeprefix(prefix): VENDOR[key] for key in VENDOR.files if key.startswith(prefix)}


def files_of(case: str, folder: Path) -> Path:
    (folder / "net.tnnproto").write_bytes(VENDOR[f"{case}/proto"].tobytes())
    (folder / "net.tnnmodel").write_bytes(VENDOR[f"{case}/model"].tobytes())
    return folder / "net.tnnproto"


@pytest.mark.parametrize("case", CASES)
def test_same_as_tnn(case: str, tmp_path: Path) -> None:
    network = load_network(files_of(case, tmp_path))
    results = network.run(blobs(case, "in"))
    expected = blobs(case, "out")
    assert set(results) == set(expected)
    for name, array in expected.items():
        assert results[name].shape == array.shape
        assert results[name].dtype == array.dtype
        np.testing.assert_allclose(results[name], array, rtol=0, atol=3e-6 * np.abs(array).max())


def test_every_layer_has_a_case(tmp_path: Path) -> None:
    seen = {
        layer.type
        for case in CASES
        for layer in load_network(files_of(case, tmp_path)).proto.layers
    }
    assert set(LAYERS) == seen
    assert set(_FIELDS) <= seen
