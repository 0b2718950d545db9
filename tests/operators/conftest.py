"""PyTorch's operator samples, as benchmarks/operators.py makes models of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import load_script

PATH = Path(__file__).parents[2] / "benchmarks" / "operators.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    pytest.importorskip("expecttest")
    return load_script(PATH)


@pytest.fixture(scope="module")
def table(benchmark: Any) -> dict[str, Any]:
    found: dict[str, Any] = benchmark.entries()
    return found
