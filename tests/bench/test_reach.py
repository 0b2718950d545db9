"""What `benchmarks/reach.py` makes of results, without running a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.reach import FORMATS, ROWS, VENDORS, _distance, page


def result(name: str, ours: str, vendor: str) -> dict[str, Any]:
    package = next(row.package for row in ROWS if row.name == name)
    return {
        "name": name,
        "package": package,
        "ours": {f: {"verdict": ours, "why": "no a|b"} for f in FORMATS},
        "vendor": {f: {"verdict": vendor, "why": ""} for f in VENDORS},
    }


def test_names_are_different() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_counts_what_the_vendor_has_right_and_we_have_not() -> None:
    found = [result("resnet18", "right", "wrong"), result("hf vit", "refused", "right")]
    text = page({each["name"]: each for each in found})
    assert "| torchvision | resnet18 | right / wrong | right / wrong | right / wrong |" in text
    assert "| onnx | 1 | 1 | 0 | 1 | 1 |" in text
    assert "| tnn | 1 | 1 | 0 | - | - |" in text
    assert f"- hf vit ({', '.join(FORMATS)}): refused: no a/b" in text


def test_outputs_are_compared_in_any_order_by_their_size() -> None:
    one, two = np.full((2, 3), 100.0), np.arange(6.0).reshape(1, 6)
    assert _distance([two.reshape(2, 3), one + 1], [one, two]) == 0.01
    assert _distance([one], [one, two]) == float("inf")
