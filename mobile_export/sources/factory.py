"""``package.module:factory?key=value``: the user's own model, imported from the current folder.

This runs the user's own code, with the user's rights: it is what they asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import SourceError, UsageError
from ..graph.float64 import deep_copy
from ..graph.source import Source
from ..graph.specs import InputSpec, WeightsInfo
from ..graph.user_code import described, guarded, place_in_code
from .calls import (
    POSITIONAL,
    Bound,
    bind_example,
    bind_named,
    signature_of,
    without_ignored,
)
from .dense_detector import DenseDetector, detector_source, is_detector, require_dense
from .labels import labels_for
from .names import near_matches
from .plain import bare, plain_module, with_script_calls
from .request import ModelRequest, query_of
from .weights import load_weights
from .yolo_detector import SIZE, YoloDetector, is_yolo, yolo_source

__all__ = ["load_factory", "source_of_module"]


def load_factory(request: ModelRequest) -> Source:
    """Import and call the user's factory; see `mobile_export.sources.table.load_source`."""
    spec = request.spec
    module_name, attribute, arguments = _parse(spec)
    if request.pretrained:
        raise UsageError(
            "`pretrained` is for models of timm, torchvision and transformers.",
            hint=f"Pass the factory's own argument: {spec}{'&' if '?' in spec else '?'}"
            "pretrained=True, or give a file with `weights='FILE'`.",
        )
    folder = Path.cwd()
    with _first_on_path(folder), torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)  # importing may draw numbers,
        imported = _import(module_name, folder)
        with guarded(partial(_failed, f"Looking up {spec}", folder=folder)):
            target = _attribute(imported, attribute, spec, folder)
        torch.manual_seed(request.seed)  # but only once in a process
        made = _make(target, spec, arguments, request, folder)
        example = request.example_inputs
        if example is None and request.input is None:
            example = _example(imported, made, request, folder)
    return _source_of(made, spec, request, example)


def _example(imported: ModuleType, made: Any, request: ModelRequest, folder: Path) -> Any:
    """What ``example_inputs()`` of the model, or of the user's module, returns; None of neither."""
    spec = request.spec
    for owner in (made, imported):
        function = getattr(owner, "example_inputs", None)
        if callable(function):
            with guarded(partial(_failed, f"Calling example_inputs() of {spec}", folder=folder)):
                return function()
    return None


def _require_asked(inputs: Sequence[InputSpec], request: ModelRequest) -> None:
    """Refuse a size, channels and a batch that are not those of the example's one image."""
    images = [each for each in inputs if each.role == "image"]
    for name, asked, own in (
        ("size", request.size, {each.size for each in images}),
        ("channels", request.channels, {each.channels for each in images}),
        ("batch", request.batch, {each.shape[0] for each in images}),
    ):
        if asked is not None and own != {asked}:
            said = ", ".join(map(str, sorted(own))) or "no image"
            raise UsageError(
                f"`{name}` {asked} is not what example_inputs() of {request.spec} has: {said}.",
                hint=f"Leave `{name}` out, or name the inputs with `input`.",
            )


def source_of_module(request: ModelRequest) -> Source:
    """A module that the caller of the Python interface has made; it is copied, never changed."""
    module = request.model
    plain = deep_copy(bare(module))
    return _source_of(plain, request.spec, request, request.example_inputs)


def _source_of(made: Any, spec: str, request: ModelRequest, example: Any) -> Source:
    notes: list[str] = []
    with guarded(partial(_failed, f"Looking at what {spec} made", folder=Path.cwd())):
        module = _dense(plain_module(made, spec, notes), spec)
        if is_yolo(module):
            module = YoloDetector(module).eval()
        if request.input is None and example is None:
            _check_signature(module, spec)
        image = _input(module, request, notes)
        classes = _classes(module)
    if request.weights is None:
        info = WeightsInfo("own", seed=request.seed)
    else:
        info = load_weights(
            module, request.weights, allow_missing=request.allow_missing, seed=request.seed
        )
    info = replace(info, notes=(*info.notes, *notes))
    if isinstance(module, DenseDetector):
        return detector_source(module, spec, image, info, None)
    if isinstance(module, YoloDetector):
        return yolo_source(module, spec, image, info)
    scripted: list[str] = []
    module = with_script_calls(module, scripted)
    info = replace(info, notes=(*info.notes, *scripted))
    inputs: tuple[InputSpec, ...] = (image,)
    if request.input is not None or example is not None:
        bound = _bound(module, request, example, image)
        ignored: list[str] = []
        bound = without_ignored(bound, ignored)
        if not any(each.role == "image" and each.dtype == "float32" for each in bound.inputs):
            info = replace(info, notes=tuple(note for note in info.notes if note != _UNSAID))
        info = replace(info, notes=(*info.notes, *ignored))
        module, inputs, example = bound.module, bound.inputs, bound.example
    first, *others = inputs
    labels = labels_for(classes)
    return Source(
        spec,
        module,
        first,
        None,
        labels,
        info,
        others=tuple(others),
        example=example,
    )


def _bound(module: nn.Module, request: ModelRequest, example: Any, image: InputSpec) -> Bound:
    """``module`` for the inputs that were named, or for those of the example."""
    if request.input is not None:
        return bind_named(module, request.spec, request.input, image.mean, image.std)
    bound = bind_example(module, request.spec, example, image.mean, image.std)
    _require_asked(bound.inputs, request)
    return bound


def _dense(module: nn.Module, spec: str) -> nn.Module:
    """One of torchvision's detectors in front of what depends on the picture; others as they are.

    Raises:
        SourceError: it has two stages.
    """
    if not is_detector(module):
        return module
    require_dense(module, spec)
    return DenseDetector(module)


def _parse(spec: str) -> tuple[str, str, dict[str, Any]]:
    target, _, _ = spec.partition("?")
    module_name, _, attribute = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name:
        dotted = ".".join(Path(module_name).with_suffix("").parts)
        raise UsageError(
            f"{spec!r} names a file; a model of your own is MODULE:FUNCTION.",
            hint=f"Run this in the folder that holds it: {dotted}:{attribute}",
        )
    names = [*module_name.split("."), *attribute.split(".")]
    if not all(name.isidentifier() for name in names):
        raise UsageError(
            f"{spec!r} is not MODULE:FUNCTION.",
            hint="For example mynet:build, or package.mynet:build?width=2&deep=True",
        )
    return module_name, attribute, query_of(spec)


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _import(name: str, folder: Path) -> ModuleType:
    top = name.partition(".")[0]
    _forget_namesake(top, folder)

    def refuse(error: BaseException) -> SourceError:
        if not isinstance(error, ModuleNotFoundError):
            return _failed(f"Importing {name}", error, folder)
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            here = sorted(p.stem for p in folder.iterdir() if p.suffix == ".py" or p.is_dir())
            near = near_matches(name, [stem for stem in here if stem.isidentifier()])
            return SourceError(
                f"There is no Python module {name!r} in {folder}, and none is installed.",
                hint=f"Did you mean {' or '.join(near)}?" if near else "Run this in its folder.",
            )
        return SourceError(
            f"Importing {name} failed: it needs the module {missing!r}, which is not installed"
            f"{place_in_code(error, folder)}.",
            hint=f"Install it into this environment: {sys.executable}",
        )

    with guarded(refuse):
        return importlib.import_module(name)


def _forget_namesake(top: str, folder: Path) -> None:
    """Drop an imported module of this name that came from another folder than the current one."""
    loaded = sys.modules.get(top)
    if loaded is None:
        return
    places = [folder / f"{top}.py", folder / top / "__init__.py"]
    here = next((str(place) for place in places if place.is_file()), None)
    if here is None or getattr(loaded, "__file__", None) == here:
        return
    for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
        del sys.modules[name]


def _attribute(module: ModuleType, dotted: str, spec: str, folder: Path) -> Any:
    target: Any = module
    for name in dotted.split("."):
        if not hasattr(target, name):
            public = [n for n in dir(target) if not n.startswith("_")]
            near = near_matches(name, public)
            place = getattr(module, "__file__", None) or module.__name__
            raise SourceError(
                f"{spec!r}: {place} has no {name!r}.",
                hint=f"Did you mean {' or '.join(near)}?"
                if near
                else f"It has: {', '.join(public[:10]) or 'nothing public'}.",
            )
        target = getattr(target, name)
    return target


def _make(
    target: Any, spec: str, arguments: dict[str, Any], request: ModelRequest, folder: Path
) -> Any:
    if isinstance(target, nn.Module):
        if arguments or request.num_classes is not None:
            raise UsageError(
                f"{spec!r} is a module already: it takes no arguments and no `num_classes`.",
                hint="Name a function or class that makes it.",
            )
        return deep_copy(target)  # the user's object stays as it is
    if not callable(target):
        raise SourceError(
            f"{spec!r} is a {type(target).__name__}, not a function or class that makes a module.",
        )
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        signature = None
    if request.num_classes is not None:
        if arguments.get("num_classes", request.num_classes) != request.num_classes:
            raise UsageError(f"`num_classes` {request.num_classes} contradicts {spec!r}.")
        if signature is not None and not _accepts(signature, "num_classes"):
            raise UsageError(
                f"`num_classes`: {spec!r} takes no argument num_classes.",
                hint=f"Its signature is {_shown(spec, signature)}.",
            )
        arguments = {**arguments, "num_classes": request.num_classes}
    if signature is not None:
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise SourceError(
                f"{spec!r} cannot be called so: {error}.",
                hint=f"Its signature is {_shown(spec, signature)}; "
                "give arguments as ?key=value&key=value.",
            ) from None
    with guarded(partial(_failed, f"Calling {spec}", folder=folder)):
        return target(**arguments)


def _accepts(signature: inspect.Signature, name: str) -> bool:
    kinds = {p.name: p.kind for p in signature.parameters.values()}
    named = kinds.get(name) in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return named or inspect.Parameter.VAR_KEYWORD in kinds.values()


def _shown(spec: str, signature: inspect.Signature) -> str:
    return f"{spec.partition('?')[0].partition(':')[2]}{signature}"


def _failed(what: str, error: BaseException, folder: Path) -> SourceError:
    said = described(error)
    if isinstance(error, SystemExit):
        said += "; put what a script does under `if __name__ == '__main__':`"
    return SourceError(f"{what} failed: {said}{place_in_code(error, folder)}.")


_NO_IMAGE = re.compile(r"(^|_)(ids?|tokens?|texts?|masks?|labels?|targets?)($|_)")
"""Names of parameters that take no image."""


def _check_signature(module: nn.Module, spec: str) -> None:
    """Refuse a forward that does not take one image first, and needs nothing else."""
    signature = signature_of(module)
    parameters = [] if signature is None else list(signature.parameters.values())
    if signature is None:
        return
    needed = [p for p in parameters if p.default is p.empty and p.kind in POSITIONAL]
    keyword = [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    taken = [p.name for p in parameters if p.kind in POSITIONAL or p.kind is p.VAR_POSITIONAL]
    several = len(parameters) > 1 and taken and _NO_IMAGE.search(taken[0])
    if len(needed) > 1 or keyword or not taken or several:
        wanted = ", ".join([*(p.name for p in needed), *keyword])
        wanted = wanted or ", ".join(p.name for p in parameters) or "none"
        raise SourceError(
            f"{spec!r} makes a {type(module).__name__}, whose forward takes the inputs {wanted}; "
            "one image is what is exported unless its inputs are named.",
            hint="Name each with `input`, as in image=1x3x224x224 or input_ids=1x77:int64; or put "
            "a function example_inputs() beside the model that returns them.",
        )


_UNSAID = (
    "The module does not say how its input is normalised; pixels are taken as scaled to [0, 1] "
    "(`mean` and `std` say otherwise)."
)


def _input(module: nn.Module, request: ModelRequest, notes: list[str]) -> InputSpec:
    if isinstance(module, DenseDetector):
        ways = module.ways
        return request.input_spec(size=ways.size, mean=ways.mean, std=ways.std)
    if isinstance(module, YoloDetector):
        return request.input_spec(size=SIZE)
    config = next(
        (
            dict(value)
            for value in (getattr(module, name, None) for name in ("pretrained_cfg", "default_cfg"))
            if isinstance(value, Mapping)
        ),
        {},
    )
    stated = _extents(config.get("input_size"))
    for name in ("input_size", "img_size"):
        stated = _extents(getattr(module, name, None)) or stated
    channels = stated[0] if stated and len(stated) == 3 else 3
    for name in ("in_chans", "in_channels"):
        value = getattr(module, name, None)
        channels = value if isinstance(value, int) and value > 0 else channels
    mean, std = _numbers(config.get("mean")), _numbers(config.get("std"))
    if mean is None and request.mean is None and std is None and request.std is None:
        notes.append(_UNSAID)
    return request.input_spec(
        size=(stated[-2], stated[-1]) if stated else (224, 224),
        channels=channels,
        mean=mean or (0.0,),
        std=std or (1.0,),
    )


def _extents(value: Any) -> tuple[int, ...] | None:
    """(H, W) or (C, H, W) from the ways in which modules state their input size."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return (value, value)
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        return None
    return tuple(value) if all(isinstance(v, int) and v > 0 for v in value) else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    if (
        isinstance(value, (tuple, list))
        and value
        and all(isinstance(v, (int, float)) for v in value)
    ):
        return tuple(float(v) for v in value)
    return None


def _classes(module: nn.Module) -> int | None:
    """Number of classes: the module's own word, or the width of its last linear layer."""
    stated = getattr(module, "num_classes", None)
    if isinstance(stated, int):
        return stated
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    return linear[-1].out_features if linear else None
