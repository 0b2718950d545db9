"""PyTorch's own operator samples as models of one operator, in every format.

    python benchmarks/operators.py --results FOLDER             run what has no result yet
    python benchmarks/operators.py --results FOLDER --only add --formats ncnn --again
    python benchmarks/operators.py --results FOLDER --write docs/operators.md

The operators are those of ``torch.testing._internal.common_methods_invocations.op_db`` (needs
``expecttest``) that float32 inference of an image network can use; `excluded` is the whole rule:
float32 in, dense real tensors out, the same each time, and no Fourier transforms or functions that
only make or inspect tensors.

Up to ``--samples`` samples of an operator are taken evenly from PyTorch's list, the first one
always; tensors without an axis or with no element are left out. The first tensor of a sample is
computed from the image by slices and a reshape, and so are others of the same shape (`add`, `cat`);
what is left is stored. Where the operator is not defined or badly conditioned on what images give
(`log`), or gives always the same (`isinf`), the image is mapped by one of `MAPS` first, the first
that does. Truth values are returned as 0 and 1, and results that take nothing from the image (those
of `broadcast_tensors`) are not returned.

All run in a child process that is replaced when it dies or takes too long. Each operator has a
result of its own (``FOLDER/NAME.json``), so a run can be stopped and continued, and several may
share a folder. Verdicts:

right        the file's outputs are the model's, by the tool's own check and, on images that it
             has not seen, by another one here; an operator that jumps (`round`) is judged by the
             float32 file where the float16 file is wrong: float16 may fall on the other side
refused      a message of the tool says why there is no file
wrong        a file was written, the check found it wrong, and it was not kept
inconclusive the tool says that it cannot judge the file
false        the tool says "passed" and the check here says otherwise
crashed      any other exception, a message that the tool itself failed, or no end within the limit
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fcntl
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobile_export.errors import BUG, MobileExportError, PassError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.table import FORMATS
from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.source import Source
from mobile_export.graph.specs import InputSpec, OutputSpec, WeightsInfo
from mobile_export.parity.compare import compare
from mobile_export.parity.samples import Sample, parity_samples
from mobile_export.pipeline import export_program
from mobile_export.system.quiet import quiet
from mobile_export.system.versions import installed_versions

NAMES = tuple(row.name for row in FORMATS)
RIGHT, REFUSED, WRONG, UNSURE, FALSE, CRASHED = (
    "right",
    "refused",
    "wrong",
    "inconclusive",
    "false",
    "crashed",
)
SECONDS = 240
LARGEST = 20_000  # elements of a sample's tensor: what is larger tests the machine

# The rule --------------------------------------------------------------------------------------

GROUPS = {
    "only makes, copies or inspects tensors": (
        "arange bfloat16 bool byte cdouble cfloat chalf char double half int long short float "
        "broadcast_shapes as_strided as_strided_copy as_strided_scatter empty_permuted "
        "empty_strided eye "
        "allclose equal item is_nonzero linspace logspace scalar_tensor tril_indices triu_indices "
        "to_sparse view_as_complex complex polar stft istft"
    ),
    "the result is the same for every image": "fill zero_ isreal",
    "random": (
        "bernoulli cauchy exponential geometric log_normal multinomial normal uniform "
        "nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d "
        "nn.functional.rrelu"
    ),
    "the shape of the result depends on values": (
        "argwhere nonzero masked_select unique unique_consecutive nn.functional.one_hot"
    ),
    "training, or private to a device": (
        "_segment_reduce _softmax_backward_data max_pool2d_with_indices_backward "
        "native_dropout_backward _batch_norm_with_update torch._scaled_mm torch._scaled_mm_v2 "
        "torch.ops.aten._efficient_attention_forward torch.ops.aten._flash_attention_forward "
        "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu _chunk_cat"
    ),
}
PREFIXES = {
    "fft.": "Fourier transforms",
    "signal.": "only makes, copies or inspects tensors",
    "sparse.": "sparse",
    "jiterator": "training, or private to a device",
    "rand": "random",
    "empty": "only makes, copies or inspects tensors",
    "new_": "only makes, copies or inspects tensors",
    "zeros": "only makes, copies or inspects tensors",
    "ones": "only makes, copies or inspects tensors",
    "full": "only makes, copies or inspects tensors",
    "resize": "only makes, copies or inspects tensors",
}


def excluded(info: Any) -> str | None:
    """Why an entry of op_db is not in the table, or None."""
    full = f"{info.name}_{info.variant_test_name}"
    for reason, names in GROUPS.items():
        if info.name in names.split() or full in names.split():
            return reason
    for prefix, reason in PREFIXES.items():
        if info.name.startswith(prefix):
            return reason
    if "dropout" in info.name:
        return "random"
    if torch.float32 not in info.supported_dtypes("cpu"):
        return "does not take float32"
    return None


KINDS = {
    "decompositions of matrices, but LU, QR and Cholesky's": (
        "geqrf linalg.cond linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh "
        "linalg.householder_product linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve "
        "linalg.lstsq linalg.matrix_rank linalg.matrix_sqrth linalg.pinv linalg.polar linalg.svd "
        "linalg.svdvals matrix_exp norm.nuc ormqr pca_lowrank pinverse svd svd_lowrank"
    ),
    "special functions": (
        "digamma erfinv i0 igamma igammac lgamma mvlgamma polygamma special.airy_ai "
        "special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1 "
        "special.chebyshev_polynomial_t special.chebyshev_polynomial_u "
        "special.chebyshev_polynomial_v special.chebyshev_polynomial_w special.erfcx "
        "special.hermite_polynomial_h special.hermite_polynomial_he special.i0e special.i1 "
        "special.i1e special.laguerre_polynomial_l special.legendre_polynomial_p "
        "special.log_ndtr special.modified_bessel_i0 special.modified_bessel_i1 "
        "special.modified_bessel_k0 special.modified_bessel_k1 special.ndtri special.polygamma "
        "special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1 "
        "special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u "
        "special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w "
        "special.spherical_bessel_j0 special.zeta"
    ),
    "shapes or control flow by values": (
        "corrcoef cov nn.functional.ctc_loss nn.functional.gaussian_nll_loss tensor_split"
    ),
    "the bits of a number": "hash_tensor nextafter",
}
"""Operators of the table that no format has: not one operation of any computes them, and a fixed
number of others only nearly, or only with as many steps as values ask for."""


def kind_of(name: str) -> str | None:
    """The kind of `KINDS` that an operator of the table is of; ``name`` as in `entries`."""
    parts = name.split(".")
    spelled = {".".join(parts[: i + 1]) for i in range(len(parts))}
    kinds = (kind for kind, names in KINDS.items() if spelled & set(names.split()))
    return next(kinds, None)


def entries() -> dict[str, Any]:
    """The operators of the table, by a name that a file can have."""
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, Any] = {}
    for info in op_db:
        if excluded(info) is None:
            name = f"{info.name}.{info.variant_test_name}" if info.variant_test_name else info.name
            found.setdefault(name, info)
    return found


# One model -------------------------------------------------------------------------------------

MAPS = {
    "x": lambda x: x,
    "0.5 + |x|": lambda x: x.abs() + 0.5,
    "1.5 + |x|": lambda x: x.abs() + 1.5,
    "0.05 + 0.9 sigmoid(x)": lambda x: x.sigmoid() * 0.9 + 0.05,
    "max(x, 0)": lambda x: x.relu(),
    "1 + x / 16": lambda x: 1 + x / 16,  # products of many
    "round(3 x)": lambda x: (3 * x).round(),  # equal elements
    "1000 x": lambda x: x * 1000,
    "max(x - 0.5, 0)": lambda x: (x - 0.5).relu(),
    "infinite or positive": lambda x: 1 / x.relu(),  # exp of ncnn ends at 2¹²⁷
    "-infinite or negative": lambda x: -1 / x.relu(),
    "NaN or 1": lambda x: x.relu() / x.relu(),
}

POSITIVE = "x xᵀ + 1"
REGULAR = "x + 4 beside the diagonal"
MAPS_OF_MATRICES = {
    POSITIVE: lambda x: x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype),
    REGULAR: lambda x: x + 4 * torch.eye(*x.shape[-2:], dtype=x.dtype).roll(1, 0),
}
"""Images that are no singular matrix, also where they are 0; of which LU exchanges rows, or not."""
_SYSTEMS = (
    *("linalg.det", "linalg.inv", "linalg.inv_ex", "linalg.lu_factor", "linalg.lu_factor_ex"),
    *("linalg.slogdet", "linalg.solve", "linalg.solve_ex", "linalg.tensorinv"),
    *("linalg.tensorsolve", "logdet", "lu", "lu_solve"),
)

STORED = {"bucketize": 1, "searchsorted": 0}
"""Operators of which one tensor, by its place in the call, is in order: it is stored as it is."""


class OneOperator(nn.Module):
    """One operator on tensors computed from the image (1, k·C, H, W).

    Args:
        call: the operator, with its arguments; tensors from the image are `Slot`s.
        shape: of each of those tensors; they are alike.
    """

    def __init__(
        self, info: Any, args: Any, shape: tuple[int, ...], count: int, mapped: str
    ) -> None:
        super().__init__()
        self.function = info.op
        self.shape, self.count = shape, count
        self.map = {**MAPS, **MAPS_OF_MATRICES}[mapped]
        self.args = self._store(args)
        self.kept: list[int] | None = None
        self.training = False

    def _store(self, value: Any) -> Any:
        """``value`` with its tensors as buffers, which `double` changes too."""
        if isinstance(value, torch.Tensor):
            name = f"stored_{len(self._buffers)}"
            held = value.detach().clone()
            equal = self.map is MAPS["round(3 x)"] and held.is_floating_point()
            self.register_buffer(name, held.round().clamp(-1, 1) if equal else held)
            return Stored(name)
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self._store(item) for item in value)
        if isinstance(value, dict):
            return {key: self._store(item) for key, item in value.items()}
        return value

    def forward(self, image: torch.Tensor) -> Any:
        image = self.map(image)
        size = image.shape[1] // self.count
        parts = [
            image[:, i * size : (i + 1) * size] if self.count > 1 else image
            for i in range(self.count)
        ]
        tensors = [part if part.shape == self.shape else part.reshape(self.shape) for part in parts]

        def filled(value: Any) -> Any:
            if isinstance(value, Slot):
                return tensors[value.index]
            if isinstance(value, Stored):
                return getattr(self, value.name)
            if isinstance(value, list | tuple) and type(value) in (list, tuple):
                return type(value)(filled(item) for item in value)
            if isinstance(value, dict):
                return {key: filled(item) for key, item in value.items()}
            return value

        first, args, kwargs = filled(self.args)
        found = _numbers(self.function(first, *args, **kwargs))
        kept = found if self.kept is None else [found[i] for i in self.kept]
        return kept[0] if len(kept) == 1 else kept


def _numbers(result: Any) -> list[torch.Tensor]:
    """All tensors of a result, truth values as 0 and 1."""
    if isinstance(result, torch.Tensor):
        return [result.float() if result.dtype == torch.bool else result]
    if isinstance(result, list | tuple):
        return [tensor for item in result for tensor in _numbers(item)]
    return []


class Slot:
    """Where tensor ``index`` of those from the image goes."""

    def __init__(self, index: int) -> None:
        self.index = index


class Stored:
    """Where a stored tensor goes."""

    def __init__(self, name: str) -> None:
        self.name = name


def image_shape(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """(1, C, H, W) for ``count`` tensors of ``shape``, or (1, C, T, H, W) for clips."""
    if len(shape) == 5 and shape[0] == 1:
        return (1, shape[1] * count, *shape[2:])
    rest = (1, 1, 1, *shape)[-3:] if len(shape) < 4 else (math.prod(shape[:-2]), *shape[-2:])
    return (1, rest[0] * count, *rest[1:])


def _slotted(sample: Any, stored: int | None) -> tuple[Any, tuple[int, ...], int] | None:
    """The arguments of a sample with `Slot`s, the shape of what these are, and their number.

    Args:
        stored: the place of a tensor that is no slot.
    """
    call = (sample.input, tuple(sample.args), dict(sample.kwargs))
    tensors: list[torch.Tensor] = []

    def visit(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))

    visit(call)
    free = [t for place, t in enumerate(tensors) if place != stored]
    floats = [t for t in free if t.dtype == torch.float32]
    first = stored != 0 and isinstance(sample.input, torch.Tensor)
    if not floats or (first and sample.input is not floats[0]):
        return None
    shape = tuple(floats[0].shape)
    large = max(t.numel() for t in tensors) > LARGEST or not 1 <= len(shape) <= 6
    if large or 0 in shape or any(0 in t.shape for t in tensors):
        return None
    taken = [t for t in floats if tuple(t.shape) == shape]
    if any(t.layout is not torch.strided for t in tensors):
        return None

    def slots(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            index = next((i for i, t in enumerate(taken) if t is value), None)
            return value if index is None else Slot(index)
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(slots(item) for item in value)
        if isinstance(value, dict):
            return {key: slots(item) for key, item in value.items()}
        return value

    return slots(call), shape, len(taken)


def models(info: Any, wanted: int) -> Iterator[tuple[dict[str, Any], nn.Module, tuple[int, ...]]]:
    """Facts, module and image shape of up to ``wanted`` samples of an operator."""
    torch.manual_seed(0)
    samples = list(info.sample_inputs("cpu", torch.float32, requires_grad=False))
    usable: list[tuple[int, Any, Any]] = []
    seen = set()
    for index, sample in enumerate(samples):
        slotted = _slotted(sample, STORED.get(info.name))
        if slotted is not None and (key := _text(slotted[0], slotted[1])) not in seen:
            seen.add(key)
            usable.append((index, slotted, key))
    step = max(1, -(-len(usable) // max(wanted, 1)))
    order = [*range(0, len(usable), step), *(i for i in range(len(usable)) if i % step)]
    made = 0
    for position in order[: 8 * wanted]:
        index, (call, shape, count), key = usable[position]
        size = image_shape(shape, count)
        found = _defined(info, call, shape, count, size)
        if found is not None:
            module, facts = found
            yield {"sample": index, "call": key, **facts}, module, size
            made += 1
        if made == wanted:
            return


def _text(call: Any, shape: tuple[int, ...]) -> str:
    def word(value: Any) -> str:
        if isinstance(value, Slot):
            return f"x{tuple(shape)}"
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype)[6:]}{tuple(value.shape)}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(map(word, value)) + "]"
        return getattr(value, "__name__", None) or str(value)

    first, args, kwargs = call
    return ", ".join(
        [word(first), *map(word, args), *(f"{k}={word(v)}" for k, v in kwargs.items())]
    )


def _images(size: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(77)
    return [torch.randn(size, generator=generator) for _ in range(3)]


def _run(double: nn.Module, image: torch.Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        outputs = flatten_outputs(run_float64(double, image.clone()))[1]
    return [output.detach().numpy() for output in outputs]


def _maps_of(name: str) -> Iterable[str]:
    """What is tried for an operator."""
    if "cholesky" in name:
        return (POSITIVE,)
    return (REGULAR,) if name in _SYSTEMS else MAPS


def _defined(
    info: Any, call: Any, shape: tuple[int, ...], count: int, size: tuple[int, ...]
) -> tuple[nn.Module, dict[str, Any]] | None:
    """The module with the first map on which the operator is defined and well conditioned.

    With the first on which it is defined where it jumps on all of them. None: no dense real result,
    or another one each time.
    """
    fallback = None
    for mapped in _maps_of(info.name):
        if fallback is not None and " or " in mapped and fallback[1]["moves"]:
            break
        try:
            module = OneOperator(info, call, shape, count, mapped)
            double = double_copy(module)
            runs = [_run(double, image) for image in _images(size)]
            again = [_run(double, image) for image in _images(size)]
        except Exception:  # noqa: BLE001 - it may not take the sample in float64
            continue
        if not runs[0] or any(a.size == 0 or a.dtype.kind == "c" for run in runs for a in run):
            return None
        if not all(_same(r, s) for r, s in zip(runs, again, strict=True)):
            return None
        # Results of another shape for another image, or that take nothing from it, are not there.
        changing = [
            i
            for i, arrays in enumerate(zip(*runs, strict=True))
            if not all(np.array_equal(arrays[0], other) for other in arrays[1:])
        ]
        if not changing or not all(_holds(run[i]) for run in runs for i in changing):
            continue
        module.kept = double.kept = changing
        facts = {"image": list(size), "map": mapped, "jumps": _jumps(double, size)}
        if not facts["jumps"]:
            return module, facts
        if fallback is None or (not fallback[1]["moves"] and _moves(double, size)):
            fallback = module, {**facts, "moves": _moves(double, size)}
    return fallback


def _moves(double: nn.Module, size: tuple[int, ...]) -> bool:
    """Whether every result changes between the inputs of the tool's check."""
    spec = InputSpec(size, (0.0,) * size[1], (1.0,) * size[1])
    runs = [_run(double, sample.image.double()) for sample in parity_samples(spec)]
    return all(
        any(not np.array_equal(arrays[0], other) for other in arrays[1:])
        for arrays in zip(*runs, strict=True)
    )


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def _holds(array: np.ndarray) -> bool:
    """Whether float16 holds a result: its largest element is a normal number."""
    if array.dtype.kind != "f":
        return True
    return bool(np.isfinite(array).all() and (not array.any() or 6e-5 < np.abs(array).max() < 6e4))


def _jumps(double: nn.Module, size: tuple[int, ...]) -> bool:
    """Whether an error of float16 in the image changes the result by more than half a percent.

    Or one of 16 times that size by more than 16 times that: so few elements may stand so close to a
    step that small errors seldom find one. Results that are whole numbers (indices, truth values,
    rounded ones) always jump.
    """
    generator = torch.Generator().manual_seed(78)
    for image in _images(size):
        exact = _run(double, image)
        if any(np.array_equal(e, np.rint(e)) for e in exact):
            return True
        near = [(image.half().float(), 1), (image * (1 + 2.0**-11), 1)]
        for scale in (1, 16) * 6:
            noise = torch.rand(size, generator=generator) * 2 - 1
            near.append((image + noise * scale * 2.0**-10, scale))
        for other, scale in near:
            pairs = list(zip(_run(double, other), exact, strict=True))
            errors = [compare(g, e).max_rel if g.shape == e.shape else math.inf for g, e in pairs]
            if max(errors) > scale * 5e-3:
                return True
    return False


# One run ---------------------------------------------------------------------------------------


def source_of(name: str, module: nn.Module, size: tuple[int, ...]) -> Source:
    """A source as the tool's own loaders make it."""
    spec = InputSpec(size, (0.0,) * size[1], (1.0,) * size[1])
    return Source(name, module, spec, None, None, WeightsInfo("own"))


def judge(
    name: str, module: nn.Module, size: tuple[int, ...], formats: Sequence[str], jumps: bool
) -> dict[str, Any]:
    """The verdict of each format."""
    verdicts: dict[str, Any] = {}
    for group in (formats, *([f] for f in formats)):
        if all(row in verdicts for row in group):
            continue
        try:
            verdicts.update(_export(name, module, size, group, jumps))
        except MobileExportError as error:
            verdicts.update({row: _refusal(error) for row in group})
        except Exception as error:  # noqa: BLE001 - what a user would see, too
            if len(group) > 1:
                continue  # each format alone says which one it is
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            verdicts[group[0]] = {"verdict": CRASHED, "reason": text[:600]}
    return verdicts


def _refusal(error: MobileExportError) -> dict[str, Any]:
    bad = BUG in error.message or isinstance(error, PassError)
    return {
        "verdict": CRASHED if bad else REFUSED,
        "reason": f"{type(error).__name__}: {error.message}"[:900],
        "hint": error.hint,
    }


def _export(
    name: str,
    module: nn.Module,
    size: tuple[int, ...],
    formats: Sequence[str],
    jumps: bool,
    precision: str | None = None,
) -> dict[str, Any]:
    rows = [row for row in FORMATS if row.name in formats]
    verdicts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = ExportConfig(out_dir=Path(folder), precision=precision)
        with quiet():
            report = export_program(
                lambda: source_of(name, module, size), name, rows, config, name="model"
            )
        for failure in report.failures:
            verdicts[failure.format] = _refusal(failure.error)
        for artifact in report.artifacts:
            parity = artifact.parity
            verdict = {"passed": RIGHT, "failed": WRONG}.get(parity.status, UNSURE)
            found: dict[str, Any] = {"verdict": verdict, "error": parity.max_rel}
            if artifact.left_out:
                found["left_out"] = list(artifact.left_out)
            if verdict == RIGHT:
                found["unseen"] = unseen = _unseen(module, size, artifact)
                # float16 may jump
                if not jumps and not unseen <= 3 * parity.tolerance:
                    found["verdict"] = FALSE
            verdicts[artifact.format] = found
            found["seconds"] = round(sum(artifact.seconds.values()), 2)
            if verdict in (WRONG, UNSURE):
                found["reason"] = "; ".join(
                    [f"{parity.max_rel:.1e} off at {parity.worst}", *parity.notes]
                )[:600]
    lower = [
        f
        for f, v in verdicts.items()
        if jumps and v["verdict"] in (WRONG, UNSURE) and precision is None
    ]
    lower = [f for f in lower if any(r.name == f and r.precisions[0].name != "fp32" for r in rows)]
    if lower:
        for row, found in _export(name, module, size, lower, jumps, "fp32").items():
            if found["verdict"] == RIGHT:
                verdicts[row] = {**found, "float16": verdicts[row]["error"]}
    return verdicts


def _unseen(module: nn.Module, size: tuple[int, ...], artifact: Any) -> float:
    """The worst error of a file on images that the tool's check has not seen."""
    double = double_copy(module)
    worst = 0.0
    row = next(row for row in FORMATS if row.name == artifact.format)
    for image in _images(size)[:2]:
        exact = _run(double, image)
        names = [f"output_{i}" for i in range(len(exact))] if len(exact) > 1 else ["logits"]
        outputs = tuple(OutputSpec(n, a.shape) for n, a in zip(names, exact, strict=True))
        with quiet():
            got = runtime_of(row).load(artifact.path, outputs).run(Sample("unseen", image))
        errors = [
            compare(g, e).max_rel if g.shape == e.shape else math.inf
            for g, e in zip(got, exact, strict=True)
        ]
        worst = max([worst, *errors])
    return worst


# Many runs -------------------------------------------------------------------------------------


def measure(
    name: str, info: Any, samples: int, formats: Sequence[str], path: Path, old: Any
) -> None:
    """Write the result of one operator; of formats not asked for, what ``old`` says stays."""
    results = []
    known = {entry["sample"]: entry["formats"] for entry in (old or {}).get("samples", ())}
    for facts, module, size in models(info, samples):
        start = time.perf_counter()
        verdicts = judge(name, module, size, formats, facts["jumps"])
        both = {**known.get(facts["sample"], {}), **verdicts}
        seconds = round(time.perf_counter() - start, 1)
        results.append({**facts, "seconds": seconds, "formats": both})
        _save(path, {"operator": name, "aten": info.aten_name, "samples": results, "done": False})
    _save(path, {"operator": name, "aten": info.aten_name, "samples": results, "done": True})


def _save(path: Path, result: Any) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(result, indent=1))
    draft.replace(path)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone works on a result now."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def run(args: argparse.Namespace) -> None:
    """Run every operator that has no complete result, in a child that is replaced when it dies."""
    args.results.mkdir(parents=True, exist_ok=True)
    started = time.time()
    command = [sys.executable, __file__, *sys.argv[1:], "--started", str(started)]
    while True:
        child = subprocess.Popen(command)
        try:
            code = child.wait()
        finally:
            child.kill()
        current = args.results / f"now.{child.pid}"
        if not current.exists():
            break
        _died(args.results / f"{current.read_text()}.json", code, args.formats)
        current.unlink()
    for lock in args.results.glob("*.lock"):
        lock.unlink(missing_ok=True)


def work(args: argparse.Namespace, table: Mapping[str, Any]) -> None:
    """What the child does; SIGALRM ends it when an operator takes too long."""
    current = args.results / f"now.{os.getpid()}"
    for number, (name, info) in enumerate(table.items(), 1):
        path = args.results / f"{name}.json"
        with claimed(path) as mine:
            old = json.loads(path.read_text()) if path.exists() else None
            fresh = path.exists() and path.stat().st_mtime > args.started
            if not mine or (_complete(old, args.formats) and (fresh or not args.again)):
                continue
            current.write_text(name)
            signal.alarm(SECONDS * args.samples)
            measure(name, info, args.samples, args.formats, path, old)
            signal.alarm(0)
            current.unlink()
        print(f"{number}/{len(table)} {name}: {_summary(json.loads(path.read_text()))}", flush=True)


def _complete(result: Any, formats: Sequence[str]) -> bool:
    if result is None or not result["done"]:
        return False
    return all(row in sample["formats"] for sample in result["samples"] for row in formats)


def _died(path: Path, code: int, formats: Sequence[str]) -> None:
    result = (
        json.loads(path.read_text()) if path.exists() else {"operator": path.stem, "samples": []}
    )
    late = code == -signal.SIGALRM
    reason = "no end within the time limit" if late else f"the process ended with {code}"
    dead = {row: {"verdict": CRASHED, "reason": reason} for row in formats}
    result["samples"].append({"sample": -1, "call": "?", "formats": dead})
    _save(path, {**result, "done": True})


def _letters(result: Any, row: str) -> str:
    marks = {RIGHT: "R", REFUSED: "x", WRONG: "W", UNSURE: "?", FALSE: "F", CRASHED: "C"}
    samples = result["samples"]
    return "".join(marks[s["formats"][row]["verdict"]] for s in samples if row in s["formats"])


def _summary(result: Any) -> str:
    return " ".join(f"{row} {_letters(result, row) or '-'}" for row in NAMES)


# The table -------------------------------------------------------------------------------------


def read(folder: Path) -> list[Any]:
    """All results, by operator."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [result for result in results if result["samples"]]


def totals(results: Sequence[Any], first: bool = False) -> dict[str, collections.Counter[str]]:
    """How often each verdict was given, by format."""
    counts = {row: collections.Counter[str]() for row in NAMES}
    for result in results:
        for sample in result["samples"][:1] if first else result["samples"]:
            for row, found in sample["formats"].items():
                counts[row][found["verdict"]] += 1
    return counts


MARK = "## PyTorch's samples"
VERDICTS = (RIGHT, REFUSED, WRONG, UNSURE, FALSE, CRASHED)
HEAD = f"""{MARK}

What every format makes of PyTorch's own operator samples, one model each: written by
`python benchmarks/operators.py`, whose docstring says which operators, which models and what the
verdicts mean. {{run}}

{{counts}}

{{left}}

Each letter is a sample: `R` right, `x` refused with a reason, `W` wrong and caught, `?`
inconclusive, `F` passed though wrong, `C` crashed, `-` not run.
"""


def write_table(path: Path, folder: Path) -> None:
    """Write docs/operators.md: what ran, the share of each verdict, a line per operator, reasons.

    What stands in the file before that heading is kept.
    """
    results = read(folder)
    table, left = entries(), _left_out()
    titles = {row.name: row.title for row in FORMATS}
    missing = len(set(table) - {result["operator"] for result in results})
    text = HEAD.format(
        run=_run_facts(folder, results, table),
        counts=_shares(results, missing, titles),
        left=_left_lines(left),
    )
    text += f"\n| operator | {' | '.join(titles.values())} | kind |\n"
    text += f"| --- |{' --- |' * len(NAMES)} --- |\n"
    for result in results:
        cells = [_letters(result, row) or "-" for row in NAMES]
        kind = kind_of(result["operator"]) or ""
        text += f"| `{result['operator']}` | {' | '.join(cells)} | {kind} |\n"
    text += "\n## What is not right, and why\n"
    for row in NAMES:
        reasons = [
            f"- `{result['operator']}` ({sample['call']}): {_line(sample['formats'][row])}"
            for result in results
            for sample in result["samples"]
            if row in sample["formats"] and sample["formats"][row]["verdict"] != RIGHT
        ]
        text += f"\n### {titles[row]}\n\n" + "\n".join(reasons or ["Nothing."]) + "\n"
    old = path.read_text() if path.exists() else "# Operators\n\n"
    path.write_text(old.partition(MARK)[0] + text)


def _left_out() -> dict[str, list[str]]:
    """The entries of op_db that are not in the table, by reason."""
    from torch.testing._internal.common_methods_invocations import op_db

    left: dict[str, list[str]] = collections.defaultdict(list)
    for info in op_db:
        reason = excluded(info)
        if reason is not None:
            left[reason].append(info.name)
    return dict(sorted(left.items()))


def _left_lines(left: Mapping[str, Sequence[str]]) -> str:
    lines = [f"- {reason}: {len(names)}" for reason, names in left.items()]
    count = sum(len(names) for names in left.values())
    return "\n".join([f"Left out of the same list, by reason ({count} entries):", "", *lines])


def _run_facts(folder: Path, results: Sequence[Any], table: Mapping[str, Any]) -> str:
    """When it ran, with what, and what has no result."""
    times = [path.stat().st_mtime for path in folder.glob("*.json")]
    days = [time.strftime("%Y-%m-%d", time.gmtime(moment)) for moment in (min(times), max(times))]
    versions = installed_versions(library for row in FORMATS for library in row.libraries)
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    ran = {result["operator"] for result in results}
    missing = [name for name in table if name not in ran]
    text = f"Run from {days[0]} to {days[1]} with {known}: "
    text += f"{len(ran & set(table))} of {len(table)} operators and variants."
    if missing:
        text += f" Without a result, or a model: {', '.join(f'`{name}`' for name in missing)}."
    return text


def _shares(results: Sequence[Any], missing: int, titles: Mapping[str, str]) -> str:
    """A row for each format, the share of right ones if what has no result were refused, and the
    share of right ones among what is of no kind of `KINDS`; then how many of each kind there are.
    """
    lines = [
        f"| format | samples | {' | '.join(VERDICTS)} | right, with {missing} without a result "
        "| right, without the kinds below |",
        "| --- | --- |" + " --- |" * (len(VERDICTS) + 2),
    ]
    rest = totals([result for result in results if kind_of(result["operator"]) is None])
    for row, found in totals(results).items():
        total = sum(found.values())
        if not total:
            lines.append(f"| {titles[row]} | 0 |{' - |' * (len(VERDICTS) + 2)}")
            continue
        cells = [f"{found[RIGHT]} ({found[RIGHT] / total:.1%})"]
        cells += [str(found[verdict]) for verdict in VERDICTS[1:]]
        cells.append(f"{found[RIGHT] / (total + missing):.1%}")
        right, others = rest[row][RIGHT], sum(rest[row].values())
        cells.append(f"{right} of {others} ({right / max(others, 1):.1%})")
        lines.append(f"| {titles[row]} | {total} | {' | '.join(cells)} |")
    kinds = collections.Counter(kind_of(result["operator"]) for result in results)
    listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.items() if kind)
    lines += ["", f"Kinds of operators that no format has: {listed or 'none ran'}."]
    return "\n".join(lines)


def _line(found: Mapping[str, Any]) -> str:
    """A verdict in one line, without the folders of this machine."""
    reason = " ".join(str(found.get("reason", "")).replace("|", "/").split())
    reason = re.sub(r"(?<![\w.])/[\w.+-]+(/[\w.+-]+)*/", "", reason)
    return f"{found['verdict']}: {reason[:240]}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of operators, as in the table")
    parser.add_argument("--formats", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--samples", type=int, default=1, help="of each operator")
    parser.add_argument("--again", action="store_true", help="also what has a result")
    parser.add_argument(
        "--failing", action="store_true", help="only what is not right in --formats"
    )
    parser.add_argument("--write", type=Path, help="write the table to this file and run nothing")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="names, and why others are left out")
    args = parser.parse_args()
    if not (args.list or args.write or args.started):
        run(args)
        return
    table = entries()
    if args.list:
        print(len(table), *table)
        for reason, names in _left_out().items():
            print(f"left out ({reason}):", *names)
        return
    if args.only:
        table = {name: info for name, info in table.items() if name in args.only}
    if args.failing:
        bad = {
            r["operator"]
            for r in read(args.results)
            if any(
                s["formats"].get(f, {}).get("verdict") != RIGHT
                for s in r["samples"]
                for f in args.formats
            )
        }
        table = {name: info for name, info in table.items() if name in bad}
    if args.write:
        write_table(args.write, args.results)
    else:
        torch.set_num_threads(1)
        work(args, table)
    for row, counts in totals(read(args.results)).items():
        total = sum(counts.values())
        print(f"{row}: {counts[RIGHT]}/{total} right", dict(counts), file=sys.stderr)


if __name__ == "__main__":
    main()
