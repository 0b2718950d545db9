"""The evaluator's operations against Apple's Core AI interpreter, where Core AI has the same one.

``core_ai.npz`` was recorded on 2026-11-28 on x86-64 Linux with ``coreai-core`` 1.0.0b3 (PyPI), the
interpreter of Core ML's successor: one graph of one operation each, written with
``coreai.authoring`` and executed by ``AIModelAsset.executable()``. ``cases`` names, per graph, the
MIL operation and the constants that mean the same; ``in`` and ``out`` went in and came out.
Core AI has no MIL programs, so the pairing is ours: its documentation of the operation and MIL's
reference say the same (resizing: HalfPixel is UNALIGN_CORNERS, AlignCorners STRICT_ALIGN_CORNERS).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobile_export.exporters.coreml.evaluator.table import OPS, Site

GOLDEN = np.load(Path(__file__).parent / "core_ai.npz")
CASES: dict[str, tuple[str, dict[str, Any]]] = json.loads(GOLDEN["cases"].tobytes())
APART = {"mod_int", "mod_float", "nearest_7"}
"""Where Core AI has another rule than the source that the evaluator follows: not settled."""


def arrays(case: str, kind: str) -> dict[str, np.ndarray]:
    prefix = f"{case}/{kind}/"
    return {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)}


def bound(value: Any) -> list[Any]:
    return [value if isinstance(value, str) else torch.as_tensor(value)]


def arguments_of(case: str) -> dict[str, Any]:
    name, constants = CASES[case]
    op, given = OPS[name], {**arrays(case, "in"), **constants}
    arguments: dict[str, Any] = {"site": Site("CoreML5", case, ())} if op.wants_site else {}
    if name == "concat":
        values = [torch.from_numpy(given.pop(key)) for key in ("v0", "v1")]
        arguments["values"] = op.converters["values"](values)
    return arguments | {key: op.converters[key](bound(value)) for key, value in given.items()}


@pytest.mark.parametrize("case", CASES)
def test_same_as_core_ai(case: str) -> None:
    op, arguments = OPS[CASES[case][0]], arguments_of(case)
    returned = op.function(**arguments)
    results = returned if isinstance(returned, tuple) else (returned,)
    wanted = list(arrays(case, "out").values())
    assert [tuple(result.shape) for result in results] == [want.shape for want in wanted]
    same = all(
        np.allclose(result.numpy(), want, rtol=1e-5, atol=1e-5)
        for result, want in zip(results, wanted, strict=True)
    )
    assert same == (case not in APART)
    if not same:
        assert op.unsettled is not None
        assert op.unsettled(**arguments)
