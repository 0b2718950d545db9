"""Every layer of the evaluator against what TNN itself computed.

``vendor.npz`` holds, per case, a network of one layer (``proto`` and ``model`` are the bytes of its
two files), its inputs and the outputs of TNN's reference device (``DEVICE_NAIVE``). It was recorded
with TNN built for x86-64 from its public source, commit f0cb08129a05c5b60f08e4ef66042a54a883a56a: a
small C++ program loads the two files, sets the inputs as NCHW float matrices, runs the network and
writes every output blob. Weights and inputs are multiples of 1/8 from a seeded generator, positive
where the function needs it.

``vendor_edges.npz`` is the same, recorded on 2026-11-28 with the same commit (the first file's
outputs came out again, all 183), of forms at the edges of the layers: windows of ``ceil_mode`` that
reach past the padding or lie outside, ties, every kind of size for resizing, factors whose product
ends in a half, bounds that cross, large arguments, steps and negative axes.

``vendor_integers.npz`` is the same, recorded on 2026-11-30 with the same commit, of layers of
integers, whose outputs must be equal: halves between two integers, results beyond 127 and -128,
activations, both forms of stored scales, and blobs that layers of floats and of integers read.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mobile_export.errors import ExecutionError
from mobile_export.exporters.tnn.evaluator import load_network
from mobile_export.exporters.tnn.evaluator.table import LAYERS
from mobile_export.exporters.tnn.evaluator.weights import _FIELDS

HERE = Path(__file__).parent
PARTS = ("vendor.npz", "vendor_edges.npz", "vendor_integers.npz")
VENDOR = {key: value for part in PARTS for key, value in np.load(HERE / part).items()}
CASES = sorted({key.split("/")[0] for key in VENDOR})


def blobs(case: str, kind: str) -> dict[str, np.ndarray]:
    prefix = f"{case}/{kind}/"
    return {key.removeprefix(prefix): VENDOR[key] for key in VENDOR if key.startswith(prefix)}


def files_of(case: str, folder: Path) -> Path:
    (folder / "net.tnnproto").write_bytes(VENDOR[f"{case}/proto"].tobytes())
    (folder / "net.tnnmodel").write_bytes(VENDOR[f"{case}/model"].tobytes())
    return folder / "net.tnnproto"


OUTSIDE = ("edge_pool1_ceil_past", "edge_pool1_ceil_stride")
"""Averages of windows outside of the input: TNN's outputs have NaN and -0 there."""


@pytest.mark.parametrize("case", OUTSIDE)
def test_averages_of_nothing_are_refused(case: str, tmp_path: Path) -> None:
    assert not np.nan_to_num(blobs(case, "out")["out"])[..., -1, :].any()
    with pytest.raises(ExecutionError, match="a window outside of its input"):
        load_network(files_of(case, tmp_path)).run(blobs(case, "in"))


@pytest.mark.parametrize("case", [case for case in CASES if case not in OUTSIDE])
def test_same_as_tnn(case: str, tmp_path: Path) -> None:
    network = load_network(files_of(case, tmp_path))
    results = network.run(blobs(case, "in"))
    expected = blobs(case, "out")
    assert set(results) == set(expected)
    for name, array in expected.items():
        assert results[name].shape == array.shape
        assert results[name].dtype == array.dtype
        np.testing.assert_allclose(results[name], array, rtol=0, atol=3e-6 * np.abs(array).max())
        if case.startswith("integers_"):
            np.testing.assert_array_equal(results[name], array)


def test_every_layer_has_a_case(tmp_path: Path) -> None:
    seen = {
        layer.type
        for case in CASES
        for layer in load_network(files_of(case, tmp_path)).proto.layers
    }
    assert set(LAYERS) == seen
    assert set(_FIELDS) - {"BlobScale"} <= seen


PAGE = HERE.parents[3] / "docs" / "tnn.md"
HEAD = "| layer | section | recorded cases | refused |"
REFUSED = {
    "Convolution": "a dilation above the image's size: wrong on x86",
    "Pooling": "adaptive maxima; an average of a window outside of the input: 0 or NaN",
}


def rows() -> list[str]:
    """The table of docs/tnn.md."""
    cases = Counter(
        line.split()[0].lstrip('"')
        for case in CASES
        for line in VENDOR[f"{case}/proto"].tobytes().decode().splitlines()[5:]
    )
    lines = []
    for type_ in sorted(LAYERS):
        section = LAYERS[type_].function.__module__.rpartition(".")[2]
        lines.append(f"| `{type_}` | {section} | {cases[type_]} | {REFUSED.get(type_, '')} |")
    return lines


def test_the_page_has_the_table() -> None:
    lines = PAGE.read_text().splitlines()
    start = lines.index(HEAD) + 2
    assert lines[start : start + len(LAYERS)] == rows()
    assert all(" | 0 | " not in row for row in rows())


if __name__ == "__main__":
    print(HEAD, "| --- | --- | --- | --- |", *rows(), sep="\n")
