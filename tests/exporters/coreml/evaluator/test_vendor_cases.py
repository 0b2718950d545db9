"""coremltools' own tests of its operations, run in the evaluator (see ``vendor_tests.py``).

By default one call of every test of an operation that coremltools cannot fold, whose other vendor
source is ``test_value_inference.py``; ``-m matrix`` runs all classes, and more calls.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mil_samples import samples
from vendor_classes import CLASSES
from vendor_tests import run_class

FOLDED = {sample.op for sample in samples()}
ALONE = [name for name, ops in CLASSES.items() if not FOLDED.issuperset(ops.split())]


@pytest.mark.parametrize("name", ALONE)
def test_what_coremltools_expects(name: str, tmp_path: Path) -> None:
    run = run_class(name, tmp_path, calls=1)
    assert run.failures == []
    assert run.compared
    assert run.ops.issuperset(CLASSES[name].split())


@pytest.mark.matrix
@pytest.mark.parametrize("name", CLASSES)
def test_more_of_what_coremltools_expects(name: str, tmp_path: Path) -> None:
    run = run_class(name, tmp_path, calls=12, seed=1)
    assert run.failures == []
    assert run.compared
