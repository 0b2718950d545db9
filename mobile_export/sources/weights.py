"""Fill a module from a checkpoint: every tensor fits, or one error says which do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..graph.specs import WeightsInfo
from .checkpoint import files_of, read_checkpoint, read_folder, strip_prefix

__all__ = ["checkpoint_sha256", "load_weights"]

SHOWN = 8
EXTREME = 15
"""Power of ten from which a few factors in a row leave float32's range of 1e38 to 1e-38"""


def load_weights(
    module: nn.Module, path: str | Path, *, allow_missing: bool = False, seed: int | None = None
) -> WeightsInfo:
    """Copy a checkpoint's tensors into a module, in place, as float32.

    Wrappers (``state_dict``, ``model``, ``net``, …) and prefixes (``module.``, ``_orig_mod.``) are
    taken off and noted; half precision becomes float32 exactly. ``num_batches_tracked`` counters
    never matter.

    Args:
        path: a file; or a folder with one file for each child of the module, such as encoder.pth
            and depth.pth, that holds the tensors of the child of that name.
        allow_missing: for a changed classifier. Tensors that the checkpoint lacks or has in another
            shape keep the values they have, and are listed in the notes. Tensors that the model
            lacks are then dropped if they belong to a top-level child of which nothing was loaded
            (the old classifier); any other is still an error, and so is a checkpoint of which less
            than half fits: that is another model, not another classifier.
        seed: what the values of missing tensors were made from, for the notes.

    Raises:
        WeightsError: the file cannot be read, does not fit, or holds NaN or infinity.
    """
    path = Path(path)
    if path.is_dir():
        checkpoint = read_folder(path, [name for name, _ in module.named_children()])
    else:
        checkpoint = read_checkpoint(path)
    own = _state(module)
    tensors, prefix = strip_prefix(checkpoint.tensors, set(own))
    notes = list(checkpoint.notes)
    if prefix:
        notes.append(f"The prefix {prefix!r} was taken off the checkpoint's names.")
    tensors = _renamed(module, tensors)
    given = len(tensors)
    tensors = _without(_training_only(module), tensors)
    if len(tensors) < given:
        notes.append(f"{given - len(tensors)} tensors that only training uses were left out.")

    fit = _compare(own, tensors)
    if allow_missing:
        fit = fit.forgiving()
    if not fit.complete and not (allow_missing and fit.tolerable):
        raise _misfit(path, fit, module, tensors, allow_missing)
    random = (*fit.missing, *fit.misshaped)
    if random:
        source = "are as they were" if seed is None else f"are RANDOM (seed {seed})"
        notes.append(f"{len(random)} tensors {source}: {_some(random)}.")
    if fit.dropped:
        notes.append(f"{len(fit.dropped)} tensors were not used: {_some(fit.dropped)}.")

    chosen = {name: tensors[name] for name in fit.fitting}
    _check_values(path, chosen, own)
    extreme = [name for name, tensor in chosen.items() if _extreme(tensor)]
    if extreme:
        notes.append(
            f"{len(extreme)} tensors hold weights so large or small (beyond 1e{EXTREME} or all "
            f"below 1e-{EXTREME}) that products in float32 overflow or vanish: {_some(extreme)}."
        )
    if any(tensor.dtype == torch.float64 for tensor in chosen.values()):
        notes.append("float64 weights were rounded to float32.")
    module.load_state_dict(chosen, strict=False)
    # Tables that some modules keep between eval calls are dropped on entering training mode.
    was_training = module.training
    module.train().train(was_training)
    return WeightsInfo(
        "checkpoint",
        seed=seed if random else None,
        path=str(path),
        sha256=checkpoint_sha256(path),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Fit:
    """How two sets of named shapes compare. ``misshaped``: name -> (got, expected)."""

    fitting: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dropped: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped)

    @property
    def tolerable(self) -> bool:
        total = len(self.fitting) + len(self.missing) + len(self.misshaped)
        return not self.unexpected and 2 * len(self.fitting) >= total

    def forgiving(self) -> _Fit:
        """Without the unexpected tensors of a top-level child from which nothing fits."""
        alive = {name.partition(".")[0] for name in self.fitting}
        changed = {name.partition(".")[0] for name in (*self.missing, *self.misshaped)} - alive
        old = tuple(n for n in self.unexpected if n.partition(".")[0] in changed)
        rest = tuple(n for n in self.unexpected if n not in old)
        return _Fit(self.fitting, self.missing, rest, self.misshaped, old)


def _counts(name: str) -> bool:
    """Whether a key matters: batch norm's counter of batches does not."""
    return name.rpartition(".")[2] != "num_batches_tracked"


def _state(module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict().items()
    return {name: t for name, t in state if isinstance(t, Tensor) and _counts(name)}


def _training_only(module: nn.Module) -> tuple[str, ...]:
    """Prefixes of a checkpoint's names that the module's class says only training uses.

    Checkpoints of segmenters hold an auxiliary head that only the loss needs.
    """
    prefixes: tuple[str, ...] = getattr(module, "training_only", ())
    return prefixes


def _renamed(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors by the names that they have in this version of the module's class,
    which says with ``current_name`` what an older one called otherwise."""
    current: Callable[[str], str] | None = getattr(module, "current_name", None)
    if current is None:
        return tensors
    return {current(name): tensor for name, tensor in tensors.items()}


def _without(prefixes: tuple[str, ...], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in tensors.items() if not name.startswith(prefixes)}


def _compare(own: dict[str, Tensor], tensors: dict[str, Tensor]) -> _Fit:
    both = [name for name in own if name in tensors]
    misshaped = {
        name: (tuple(tensors[name].shape), tuple(own[name].shape))
        for name in both
        if tensors[name].shape != own[name].shape
    }
    return _Fit(
        fitting=tuple(name for name in both if name not in misshaped),
        missing=tuple(name for name in own if name not in tensors),
        unexpected=tuple(name for name in tensors if name not in own and _counts(name)),
        misshaped=misshaped,
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f", … and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _misfit(
    path: Path,
    fit: _Fit,
    module: nn.Module,
    tensors: dict[str, Tensor],
    allow_missing: bool,
) -> WeightsError:
    total = len(_state(module))
    lines = [f"{path} does not fit this model: {len(fit.fitting)} of {total} tensors agree."]
    if fit.missing:
        lines.append(f"  missing in the file ({len(fit.missing)}): {_some(fit.missing)}")
    if fit.unexpected:
        lines.append(f"  not in the model ({len(fit.unexpected)}): {_some(fit.unexpected)}")
    if fit.misshaped:
        shapes = [
            f"{name} is {list(got)}, expected {list(expected)}"
            for name, (got, expected) in fit.misshaped.items()
        ]
        lines.append(f"  of another shape ({len(shapes)}): {_some(shapes)}")
    return WeightsError("\n".join(lines), hint=_way_on(fit, module, tensors, allow_missing))


def _way_on(fit: _Fit, module: nn.Module, tensors: dict[str, Tensor], allow_missing: bool) -> str:
    change = _changed_extent(fit)
    known = getattr(module, "num_classes", None)
    classes = None if change is None else _changed_classes(module, change, known)
    fits = _zoo_fits(tensors) if classes is None else []
    if fits:
        return f"This checkpoint fits {' and '.join(fits)}."
    if classes is None and change is not None and known is None:  # not a model of ours or timm's
        classes = change[0]
    if classes is not None:
        return (
            f"The checkpoint's classifier has {classes} classes: add `num_classes={classes}`, "
            "or `allow_missing=True` to take everything but the classifier."
        )
    if allow_missing:
        return (
            "`allow_missing` is for a changed classifier: at least half of the model must be in "
            "the file, and what is in the file must be in the model."
        )
    return "Is it another variant of the model? For a changed classifier, add `allow_missing=True`."


def _changed_classes(module: nn.Module, change: tuple[int, int], known: object) -> int | None:
    """How many classes a checkpoint tells apart whose tensors differ by this (got, expected).

    A module whose classifier has more values than classes, such as a detector's, says with
    ``classes_of`` how many classes an extent is. None: ``known`` classes do not explain the change.
    """
    classes_of = getattr(module, "classes_of", lambda extent: extent)
    got: int | None = classes_of(change[0])
    return got if known is not None and classes_of(change[1]) == known else None


def _changed_extent(fit: _Fit) -> tuple[int, int] | None:
    """(got, expected) if a minority differs in nothing but one extent, the same in every tensor.

    That is what another number of classes does, whatever axis of a layer they are on.
    """
    if fit.missing or fit.unexpected or not fit.tolerable:
        return None
    changes: set[tuple[int, int]] = set()
    for got, expected in fit.misshaped.values():
        differing = [pair for pair in zip(got, expected, strict=False) if pair[0] != pair[1]]
        if len(got) != len(expected) or len(differing) != 1:
            return None
        changes.update(differing)
    return changes.pop() if len(changes) == 1 else None


@dataclass(frozen=True)
class _Known:
    """A built-in model: its number of classes and its module, without values."""

    classes: int | None
    module: nn.Module


def _zoo_fits(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the built-in models that have exactly these tensors, whatever their classes."""
    found: list[str] = []
    for spec, known in _zoo().items():
        module = known.module
        fit = _compare(_state(module), _without(_training_only(module), tensors))
        change = _changed_extent(fit)
        classes = None if change is None else _changed_classes(module, change, known.classes)
        if fit.complete:
            found.append(spec)
        elif classes is not None:
            found.append(f"{spec} with `num_classes={classes}`")
    return found


@cache
def _zoo() -> dict[str, _Known]:
    """Every built-in model, by what the user types."""
    from ..models import table as registry

    zoo: dict[str, _Known] = {}
    for entry in registry.entries():
        for spec, options in entry.weight_variants():
            with torch.device("meta"):
                module = entry.build(**options)
            zoo[spec] = _Known(entry.num_classes, module)
    return zoo


def _check_values(path: Path, chosen: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Refuse NaN, infinity and integers in place of weights."""
    bad: list[str] = []
    wrong: list[str] = []
    for name, tensor in chosen.items():
        if not own[name].is_floating_point():
            continue
        if tensor.is_quantized or not tensor.is_floating_point():
            wrong.append(f"{name} is {str(tensor.dtype).removeprefix('torch.')}")
        elif not _finite(tensor) and _finite(own[name]):
            bad.append(name)
    if wrong:
        raise WeightsError(
            f"{path} holds integers where the model has floating-point weights "
            f"({len(wrong)} tensors): {_some(wrong)}.",
            hint="Give the checkpoint from before quantisation.",
        )
    if bad:
        raise WeightsError(
            f"{path} holds NaN or infinity in {len(bad)} tensors: {_some(bad)}.",
            hint="The training diverged, or the file is damaged; give an earlier checkpoint.",
        )


def _finite(tensor: Tensor) -> bool:
    if tensor.numel() == 0 or tensor.is_meta:
        return True
    return bool(torch.isfinite(tensor.float()).all())


def _extreme(tensor: Tensor) -> bool:
    if tensor.numel() == 0 or tensor.is_meta or not tensor.is_floating_point():
        return False
    sizes = tensor.float().abs()
    largest = float(sizes[torch.isfinite(sizes)].max()) if torch.isfinite(sizes).any() else 0.0
    return largest > 10.0**EXTREME or 0 < largest < 10.0**-EXTREME


def checkpoint_sha256(path: Path) -> str:
    """Of a file, or of the hashes of a folder's files in their order."""
    if path.is_dir():
        digests = "".join(checkpoint_sha256(file) for file in files_of(path) if file.is_file())
        return hashlib.sha256(digests.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
