"""The proof: a rewritten program computes in float64 what the original model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SourceError

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..parity.reference import Reference

__all__ = ["EXACT"]


EXACT = 1e-9
"""Largest float64 error of a rewritten program, relative to max |reference|."""


def refuse_nan(program: Program, reference: Reference) -> None:
    import numpy as np
    import torch

    if not any(np.isnan(array).any() for array in reference.outputs[-1]):
        return
    exported = program.exported
    stored = {**exported.state_dict, **exported.constants}
    bad = [
        name.removeprefix("module.")
        for name, value in stored.items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not (
            bool(torch.isfinite(value).all())
            and (not name.endswith("running_var") or bool((value > 0).all()))
        )
    ]
    raise SourceError(
        f"{program.spec} itself returns NaN in float64, so no file can be compared with it.",
        hint="Look at " + ", ".join(repr(name) for name in bad[:5]) + ": NaN, infinity, or a "
        "variance that is not positive."
        if bad
        else "Its weights are finite; look for a logarithm, root or division in its forward.",
    )


def distance(program: Program, reference: Reference) -> float:
    """Float64 error of ``program`` on the last sample, relative to max |reference|.

    The last, so that a model that changes its own state between calls is caught.
    """
    import numpy as np

    from ..graph.float64 import run_float64
    from ..parity.compare import compare

    exact = reference.outputs[-1]
    results = run_float64(program.float64(), reference.samples[-1].image)
    errors = [compare(a.detach().numpy(), b).max_rel for a, b in zip(results, exact, strict=True)]
    return float(np.max(errors))
