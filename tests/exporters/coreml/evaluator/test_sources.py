"""Every operation of the evaluator has a row in docs/coreml-evaluator.md: what it rests on.

The rows follow from the tests: an operation that is added without a row, or whose row names a
source that no test has, fails here. ``python tests/exporters/coreml/evaluator/test_sources.py``
prints the table.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import mil_cases_elementwise
import mil_cases_image
import mil_cases_nn
import mil_cases_tensor
import numpy as np
from mil_samples import samples
from vendor_classes import CLASSES

import mobile_export.exporters.coreml.evaluator  # noqa: F401
from mobile_export.exporters.coreml.evaluator.table import OPS

HERE = Path(__file__).parent
PAGE = HERE.parents[3] / "docs" / "coreml-evaluator.md"
HEAD = "| operation | section | coremltools folds it | coremltools tests it | Core AI | settled |"
TABLES = (mil_cases_elementwise, mil_cases_nn, mil_cases_tensor, mil_cases_image)
BY_REFERENCE = {
    "classify": "the MIL reference; tests/exporters/coreml/evaluator/test_mil_program.py",
    "conv_quantized": "the MIL reference: `conv` of the weights that its formula gives",
}
"""Operations without numbers by the vendor: where the rule is from."""


def sources() -> dict[str, tuple[bool, bool, bool]]:
    """By operation: compared with constant folding, in coremltools' own tests, with Core AI."""
    folded = {sample.op for sample in samples()}
    folded |= {case.op for table in TABLES for case in table.CASES if case.expect is None}
    tested = {op for ops in CLASSES.values() for op in ops.split()}
    golden = np.load(HERE / "core_ai.npz")
    ran = {op for op, _ in json.loads(golden["cases"].tobytes()).values()}
    return {op: (op in folded, op in tested, op in ran) for op in OPS}


def rows() -> list[str]:
    """The table of the page."""
    lines = []
    for op, found in sorted(sources().items()):
        section = OPS[op].function.__module__.rpartition(".")[2]
        settled = "yes" if OPS[op].unsettled is None else "but for forms below"
        marks = " | ".join("yes" if has else "" for has in found)
        lines.append(f"| `{op}` | {section} | {marks} | {settled} |")
    return lines


def test_the_page_has_the_table() -> None:
    lines = PAGE.read_text().splitlines()
    start = lines.index(HEAD) + 2
    assert lines[start : start + len(OPS)] == rows()
    assert not lines[start + len(OPS)].startswith("|")


def test_what_has_no_numbers_of_the_vendor_is_named() -> None:
    assert {op for op, found in sources().items() if not any(found)} == set(BY_REFERENCE)
    page = PAGE.read_text()
    for op, rule in BY_REFERENCE.items():
        assert f"`{op}`: {rule}" in page


def test_the_page_counts_them() -> None:
    count = Counter[str]()
    for folded, tested, ran in sources().values():
        count.update(
            {"folded": folded, "tested": tested, "ran": ran, "any": folded or tested or ran}
        )
    said = (
        f"{len(OPS)} operations: {count['folded']} agree with coremltools' folding, "
        f"{count['tested']} with its own tests, {count['ran']} with Core AI's interpreter; "
        f"{count['any']} with at least one of them."
    )
    assert said in " ".join(PAGE.read_text().split())


if __name__ == "__main__":
    print(HEAD, "| --- | --- | --- | --- | --- | --- |", *rows(), sep="\n")
