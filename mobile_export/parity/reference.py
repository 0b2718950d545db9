"""What the original model returns: the eager module in float64, before any pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import SourceError
from ..graph.capture import flatten_outputs
from ..graph.float64 import double_copy, run_float64
from ..graph.user_code import described, guarded
from .compare import compare
from .samples import Sample

if TYPE_CHECKING:
    pass

__all__ = ["Reference", "make_reference", "with_activation"]


@dataclass(frozen=True)
class Reference:
    """What the original model returns, and how exactly PyTorch's own float32 reproduces it.

    Attributes:
        samples: the inputs, in order.
        outputs: per sample, one float64 (or integer) array per output.
        float32_error: worst error of eager float32, relative to max |reference|.
        notes: warnings about what these inputs can prove.
    """

    samples: tuple[Sample, ...]
    outputs: tuple[tuple[np.ndarray, ...], ...]
    float32_error: float
    notes: tuple[str, ...] = ()


def make_reference(module: torch.nn.Module, samples: Sequence[Sample]) -> Reference:
    """Run the original eager module on ``samples`` in float64 and in float32."""
    double = double_copy(module)
    outputs: list[tuple[np.ndarray, ...]] = []
    float32_error = 0.0
    for sample in samples:
        exact = _arrays(_run_exactly(double, sample.image))
        with guarded(partial(_failed_again, module)), torch.no_grad():
            single = _arrays(module(sample.image.float().clone()))  # it may write to it
        float32_error = max(
            float32_error, *(compare(b, a).max_rel for a, b in zip(exact, single, strict=True))
        )
        outputs.append(exact)
    return Reference(tuple(samples), tuple(outputs), float32_error, _sensitivity(outputs))


def _failed_again(module: torch.nn.Module, error: BaseException) -> SourceError:
    return SourceError(
        f"{type(module).__name__} ran once, and fails when it is called again: {described(error)}",
        hint="The model is called several times, with several images.",
    )


def _run_exactly(double: torch.nn.Module, image: torch.Tensor) -> Any:
    def refuse(error: BaseException) -> SourceError:  # an operator may not know float64
        return SourceError(
            f"{type(double).__name__} runs in float32, but not in float64, which is the reference: "
            f"{described(error)}",
            hint="Every operator of the model must take float64 on the CPU.",
        )

    with guarded(refuse):
        return run_float64(double, image)


def _arrays(result: Any) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().numpy() for tensor in flatten_outputs(result)[1])


def _sensitivity(outputs: Sequence[tuple[np.ndarray, ...]]) -> tuple[str, ...]:
    """A warning when the model's output hardly depends on its input: parity would prove little."""
    if any(np.isnan(array).any() for arrays in outputs for array in arrays):
        return ("the model itself returns NaN on these inputs",)
    first = np.stack([arrays[0] for arrays in outputs]).astype(np.float64)
    if not np.isfinite(first).all():
        return ("the model itself returns infinity on these inputs",)
    spread, scale = float(np.ptp(first, axis=0).max()), float(np.abs(first).max())
    if len(outputs) > 1 and spread <= 1e-4 * scale:
        return (
            "the output hardly changes with the input "
            f"({spread:.1e} of a range of {scale:.1e}), so parity proves little",
        )
    return ()


def with_activation(reference: Reference, activation: str | None) -> Reference:
    """``reference`` as seen behind the activation that an artifact adds to the logits."""
    if activation is None:
        return reference
    assert activation == "softmax", activation
    return replace(
        reference,
        outputs=tuple(tuple(_softmax(array) for array in arrays) for arrays in reference.outputs),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
