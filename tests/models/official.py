"""A family against its official code: names and shapes of its weights, and what it returns.

``data/FAMILY.json.gz`` holds keys and shapes of the official modules' state dicts,
``data/golden_FAMILY.json`` sampled outputs of the official code in float64 for the weights (those
of two dimensions or more times ``gain``) and the input of ``fill.py``; several outputs are one row
of numbers, one output after another.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.graph.float64 import Float64Mode
from mobile_export.models import table
from tests.models.fill import fill_input, fill_tensor

__all__ = ["DATA", "Official", "build", "same_weights"]

DATA = Path(__file__).parent / "data"


def build(spec: str, size: tuple[int, int] | None = None) -> torch.nn.Module:
    """The module of ``NAME`` or ``NAME?key=value``, for images of ``size`` (None: the default)."""
    name, _, query = spec.partition("?")
    entry = table.get(name)
    return entry.build(size=size, **entry.parse_options(query))


def same_weights(name: str, *queries: str, size: tuple[int, int]) -> list[torch.Tensor]:
    """Outputs of one model with the same random weights under each of these options."""
    entry = table.get(name)
    torch.manual_seed(0)
    modules = [entry.build(**entry.parse_options(query)).eval() for query in queries]
    for module in modules:
        module.load_state_dict(modules[0].state_dict())
    image = torch.rand(entry.input_shape(size))
    with torch.no_grad():
        return [module(image) for module in modules]


class Official:
    """What the official code of a family says, by what the user types.

    Args:
        data: where its files are; code that is not PyTorch's has no names and shapes there.
    """

    def __init__(self, family: str, data: Path = DATA) -> None:
        self.golden: dict[str, Any] = json.loads((data / f"golden_{family}.json").read_text())
        self.shapes: dict[str, dict[str, list[int]]] = {}
        if data == DATA:
            packed = (DATA / f"{family}.json.gz").read_bytes()
            self.shapes = json.loads(gzip.decompress(packed))

    def build(self, spec: str) -> torch.nn.Module:
        """The module, for images of the size of its official output if there is one."""
        golden = self.golden.get(spec)
        return build(spec, tuple(golden["input_shape"][-2:]) if golden else None)

    def zeros(self, spec: str) -> dict[str, torch.Tensor]:
        """A state dict of the official shapes."""
        return {key: torch.zeros(shape) for key, shape in self.shapes[spec].items()}

    def marked(self, quick: Iterable[str]) -> list[Any]:
        """Parameters of a test of outputs; those that are not quick run with ``-m matrix``."""
        quick = set(quick)
        assert quick <= set(self.golden)
        return [
            pytest.param(spec, marks=() if spec in quick else pytest.mark.matrix)
            for spec in sorted(self.golden)
        ]

    def check_state_dict(self, spec: str) -> None:
        """Names, shapes and order of the weights are the official ones."""
        with torch.device("meta"):
            state = self.build(spec).state_dict()
        assert {key: list(value.shape) for key, value in state.items()} == self.shapes[spec]
        assert list(state) == list(self.shapes[spec]), "same order, too"

    def check_outputs(self, spec: str, constants: str | None = None) -> None:
        """The output in float64 is the official one, to a billionth of the largest value.

        Args:
            constants: the last part of the names of tensors that are no learnt weights: both
                modules keep their own.
        """
        golden = self.golden[spec]
        module = self.build(spec)
        assert sum(p.numel() for p in module.parameters()) == golden["params"]
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point() and key.rpartition(".")[2] != constants:
                value = torch.from_numpy(fill_tensor(key, list(tensor.shape)))
                tensor.copy_(value * golden["gain"] if value.ndim >= 2 else value)
        image = torch.from_numpy(fill_input(golden["input_shape"])).double()
        with torch.no_grad(), Float64Mode():
            output = module.eval().double()(image)
        if isinstance(output, dict):
            output = torch.cat([value.flatten(1) for value in output.values()], 1)
        assert list(output.shape) == golden["output_shape"]
        expected = torch.tensor(golden["values"], dtype=torch.float64)
        torch.testing.assert_close(
            output.flatten()[golden["indices"]], expected, rtol=0, atol=1e-9 * golden["max_abs"]
        )
        assert float(output.abs().mean()) == pytest.approx(golden["mean_abs"], rel=1e-9)
        assert float(output.abs().max()) == pytest.approx(golden["max_abs"], rel=1e-9)
