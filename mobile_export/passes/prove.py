"""The proof: a rewritten program computes in float64 what the original model computes.

Everything of ours that edits a graph is inside it: the passes, what a format adapts for its
converter, and the lowering to layers. What was proven is fingerprinted, and the fingerprint is
compared when the writer is done: a writer only writes.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import PassError, SourceError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..graph.program import Program
    from ..parity.reference import Reference

__all__ = ["EXACT", "distance", "fingerprint", "float64_outputs", "refuse_nan", "require_same"]

EXACT = 1e-9
"""Largest float64 error of a rewritten program, relative to max |reference|."""


def refuse_nan(program: Program, reference: Reference) -> None:
    """Refuse a model that returns NaN: nothing can be compared with it.

    Raises:
        SourceError: it names the weights that are NaN, infinite or no variance.
    """
    import numpy as np
    import torch

    if not any(np.isnan(array).any() for array in reference.outputs[-1]):
        return
    exported = program.exported
    constants = {**exported.state_dict, **exported.constants}
    bad = [
        name.removeprefix("module.")
        for name, value in constants.items()
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


def float64_outputs(program: Program, *inputs: torch.Tensor) -> tuple[np.ndarray, ...]:
    """What ``program`` computes for ``inputs`` in float64, one array per output."""
    from ..graph.float64 import run_float64

    results = run_float64(program.float64(), *inputs)
    return tuple(result.detach().numpy() for result in results)


def distance(program: Program, reference: Reference) -> float:
    """Float64 error of ``program`` on the last sample, relative to max |reference|.

    The last, so that a model that changes its own state between calls is caught.
    """
    sample = reference.samples[-1]
    got = float64_outputs(program, *sample.all_given(pixels=program.input.pixels))
    return _largest_error(got, reference.outputs[-1])


def require_same(
    what: str, spec: str, got: Sequence[np.ndarray], exact: Sequence[np.ndarray]
) -> None:
    """Refuse a rewritten form of a program that computes something else.

    Args:
        what: the form, as the subject of a sentence.
        spec: the model.
        got, exact: float64 outputs of the form and of the program it was made from.

    Raises:
        PassError: they differ by more than `EXACT`.
    """
    error = _largest_error(got, exact)
    if not error <= EXACT:
        raise PassError(
            f"{what} of {spec} computes something else: {error:.1e} of the output range in "
            f"float64, allowed is {EXACT:.0e}.",
            hint="No file was written. That is a bug; please report the model.",
        )


def _largest_error(got: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    import numpy as np

    from ..parity.compare import compare

    return float(np.max([compare(a, b).max_rel for a, b in zip(got, exact, strict=True)]))


def fingerprint(value: Any, start: int = 0) -> int:
    """A checksum of a program or a layer graph: its structure and all its numbers."""
    import numpy as np
    import torch
    from torch.export import ExportedProgram

    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        start = zlib.crc32(repr((value.dtype, value.shape)).encode(), start)
        return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data, start)
    if isinstance(value, ExportedProgram):
        start = zlib.crc32(str(value.graph).encode(), start)
        return fingerprint({**value.state_dict, **value.constants}, start)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        value = tuple(value.items())
    if isinstance(value, list | tuple):
        for item in value:
            start = fingerprint(item, start)
        return start
    return zlib.crc32(repr(value).encode(), start)
