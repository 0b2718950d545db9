"""A sample of the table of operators: PyTorch's samples as models of one operator, in all formats.

Tests benchmarks/operators.py; the whole table is docs/operators.md.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("expecttest")


def test_the_table_is_large(table: dict[str, Any]) -> None:
    assert len(table) >= 250
    assert {"add", "nn.functional.conv2d", "sort", "nn.functional.grid_sample"} <= set(table)


def test_what_is_left_out_has_a_reason(benchmark: Any) -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    names = {info.name for info in op_db}
    reasons = {info.name: benchmark.excluded(info) for info in op_db}
    assert reasons["uniform"] == "random"
    assert reasons["svd"] is None
    assert reasons["nn.functional.conv2d"] is None
    stale = [n for group in benchmark.GROUPS.values() for n in group.split() if n not in names]
    assert [name for name in stale if "_" not in name] == []


def test_kinds_that_no_format_has(benchmark: Any, table: dict[str, Any]) -> None:
    """Each name is one of the table, and no other operator is of a kind by its name."""
    named = [name for names in benchmark.KINDS.values() for name in names.split()]
    known = {info.name for info in table.values()} | set(table)
    assert [name for name in named if name not in known] == []
    assert len(named) == len(set(named))
    assert benchmark.kind_of("linalg.svdvals") == benchmark.kind_of("linalg.pinv.singular")
    assert benchmark.kind_of("polygamma.polygamma_n_1") == "special functions"
    others = (
        "norm.fro",
        "linalg.lu_factor",
        "linalg.norm",
        "special.entr",
        "lt",
        "nn.functional.nll_loss",
        "histc",
    )
    assert [benchmark.kind_of(name) for name in others] == [None] * len(others)


@pytest.mark.parametrize("name", ["logsumexp"])
def test_right_in_every_format(benchmark: Any, table: dict[str, Any], name: str) -> None:
    facts, module, size = next(benchmark.models(table[name], 1))
    found = benchmark.judge(name, module, size, benchmark.NAMES, facts["jumps"])
    assert {row: entry["verdict"] for row, entry in found.items()} == dict.fromkeys(
        benchmark.NAMES, "right"
    ), found


def test_a_wrong_file_is_not_called_right(
    benchmark: Any, table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tool passes is compared again here, with another image."""
    facts, module, size = next(benchmark.models(table["add"], 1))
    run = benchmark._run
    monkeypatch.setattr(benchmark, "_run", lambda *args: [a * 1.5 for a in run(*args)])
    found = benchmark.judge("add", module, size, ["ncnn"], facts["jumps"])
    assert found["ncnn"]["verdict"] == "false"


def test_an_exception_of_others_is_a_crash(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise IndexError("list index out of range")

    monkeypatch.setattr(benchmark, "export_program", fails)
    found = benchmark.judge("add", None, (1, 3, 4, 4), ["onnx", "ncnn"], False)
    assert {entry["verdict"] for entry in found.values()} == {"crashed"}
    assert "IndexError" in found["ncnn"]["reason"]
