"""``timm/NAME[?key=value]``: a model of PyTorch Image Models, with timm's own input size and
normalisation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch

from ..errors import SourceError, UsageError, summary
from ..graph.source import Source
from ..graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec, Recipe, WeightsInfo
from ..system.options import shortened
from .build import build_with_weights
from .labels import labels_for
from .names import no_timm_model, timm_name
from .request import ModelRequest, query_of

__all__ = ["default_config", "known_name", "load_timm", "options_of", "recipe_of", "tags_of"]

HUB_TIMEOUT = 5.0


def load_timm(request: ModelRequest) -> Source:
    """Build ``timm/NAME``; see `mobile_export.sources.table.load_source`."""
    name, kwargs = known_name(request.spec), options_of(request.spec)
    facts = default_config(name)
    native = tuple(facts["input_size"])
    input_spec = request.input_spec(
        size=(native[1], native[2]),
        channels=native[0],
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )
    if request.num_classes is not None:
        kwargs["num_classes"] = request.num_classes
    if request.channels is not None:
        kwargs["in_chans"] = request.channels
    if facts.get("fixed_input_size") and input_spec.shape[2:] != native[1:]:
        kwargs["img_size"] = input_spec.shape[2:]

    def build(**extra: Any) -> torch.nn.Module:
        try:
            return _create(name, {**kwargs, **extra})
        except TypeError as error:
            if "img_size" not in kwargs or "img_size" not in str(error):
                raise
            del kwargs["img_size"]
            return _create(name, {**kwargs, **extra})

    try:
        build_from = build
        if kwargs.get("features_only") and request.weights is not None:
            build_from = partial(_features_of, name, kwargs)
        module, weights = _weigh(name, build_from, input_spec, request, facts)
        if build_from is not build:
            module = _features_of(name, kwargs, module)
    except SourceError:
        raise
    except Exception as error:  # timm's builders raise whatever their arguments provoke
        wanted = ", ".join(f"{key}={value}" for key, value in kwargs.items()) or "its defaults"
        raise SourceError(
            f"timm could not build {name} with {wanted}: {type(error).__name__}: {error}",
            hint=f"Its own input is {native[1]}x{native[2]}; try without `size` and `num_classes`.",
        ) from error
    return _source(module.eval(), input_spec, weights, request, facts)


def known_name(spec: str) -> str:
    """What timm calls ``timm/NAME``.

    Raises:
        MissingExtraError: timm is not installed.
        SourceError: it has no such model; the error names those that are spelt alike.
    """
    name = timm_name(spec)
    import timm

    if timm.is_model(name):
        return name
    raise no_timm_model(name)


_OPTIONS: dict[str, tuple[type, ...]] = {
    "features_only": (bool,),
    "out_indices": (tuple, list, int),
    "output_stride": (int,),
    "global_pool": (str,),
}
"""Arguments of `timm.create_model` that may stand behind a name. A manifest may hold one, too: none
of them names a file or a place."""


def options_of(spec: str) -> dict[str, Any]:
    """The arguments for timm in ``timm/NAME?key=value&key=value``.

    Raises:
        UsageError: one is none, or has a value of another kind.
    """
    found = query_of(spec)
    for key, value in found.items():
        kinds = _OPTIONS.get(key, ())
        numbers = value if isinstance(value, tuple | list) else [0]
        if not isinstance(value, kinds) or not all(isinstance(n, int) for n in numbers):
            said = ", ".join(_OPTIONS)
            raise UsageError(
                f"{shortened(f'{key}={value!r}')} in {shortened(spec)!r} is no option of timm's.",
                hint=f"Valid are {said}: timm/resnet18?features_only=True&out_indices=(1,2).",
            )
    return found


def _features_of(name: str, kwargs: dict[str, Any], full: torch.nn.Module | None = None) -> Any:
    """The whole model; or, of a filled one, the part that returns its features, as timm cuts it."""
    if full is None:
        whole = {k: v for k, v in kwargs.items() if k not in ("features_only", "out_indices")}
        return _create(name, whole)
    overlay = {"state_dict": full.state_dict(), "custom_load": False}
    return _create(name, {**kwargs, "pretrained": True, "pretrained_cfg_overlay": overlay}).eval()


def default_config(name: str) -> dict[str, Any]:
    """timm's pretrained configuration of a model, with ImageNet's values where it has none."""
    import timm

    config = timm.get_pretrained_cfg(name)
    facts: dict[str, Any] = {} if config is None else config.to_dict()
    defaults = {"input_size": (3, 224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return facts | {key: facts.get(key) or value for key, value in defaults.items()}


def tags_of(architecture: str) -> tuple[str, ...]:
    """Each set of pretrained weights that timm has of an architecture, with its place."""
    import timm

    found = []
    for name in timm.list_pretrained(f"{architecture}.*"):
        facts = default_config(name)
        place = _address(facts) if facts.get("hf_hub_id") or facts.get("url") else "no place"
        found.append(f"timm/{name}: {place}")
    return tuple(found)


def _source(
    module: torch.nn.Module,
    input_spec: InputSpec,
    weights: WeightsInfo,
    request: ModelRequest,
    facts: dict[str, Any],
) -> Source:
    meaning = _meaning(module, request)
    names: tuple[str, ...] | None = None if meaning is None else (meaning,)
    if (info := getattr(module, "feature_info", None)) and hasattr(info, "out_indices"):
        names = tuple(f"features_{index}" for index in info.out_indices)
    return Source(
        request.spec,
        module,
        input_spec,
        names,
        labels_for(getattr(module, "num_classes", None)),
        weights,
        task="classification" if meaning == "logits" else meaning,
        meanings={} if meaning is None else {meaning: meaning},
        recipe=recipe_of(facts),
    )


def _meaning(
    module: torch.nn.Module, request: ModelRequest
) -> Literal["logits", "features"] | None:
    """What the output is: without a classifier, features; with one of an ImageNet set, or of as
    many classes as were asked for, logits. Other widths, such as CLIP's, say nothing.
    """
    from timm.data import infer_imagenet_subset

    if getattr(module, "num_classes", None) == 0:
        return "features"
    known = request.num_classes is not None or infer_imagenet_subset(module) is not None
    return "logits" if known else None


def recipe_of(facts: dict[str, Any]) -> Recipe | None:
    """timm's data configuration, with its defaults; None for a model without one."""
    if "crop_pct" not in facts:
        return None
    from timm.data import resolve_data_config

    config = resolve_data_config({}, pretrained_cfg=facts)
    return Recipe(
        float(config["crop_pct"]),
        str(config["crop_mode"]),
        str(config["interpolation"]),
        f"timm's data configuration of {facts.get('architecture') or 'the model'}",
    )


def _create(name: str, kwargs: dict[str, Any]) -> torch.nn.Module:
    import timm

    module: torch.nn.Module = timm.create_model(name, **kwargs)
    return module


def _weigh(
    name: str, build: Any, spec: InputSpec, request: ModelRequest, facts: dict[str, Any]
) -> tuple[torch.nn.Module, WeightsInfo]:
    if not request.pretrained:
        return build_with_weights(build, spec, request)
    place = facts.get("hf_hub_id") or facts.get("url")
    if not place:
        raise SourceError(
            f"timm has no pretrained weights for {name}.",
            hint="Leave `pretrained` out for random weights, or give a file with `weights='FILE'`.",
        )
    extra: dict[str, Any] = {"pretrained": True}
    cached = _cached_file(facts)
    if cached is not None:
        extra["pretrained_cfg_overlay"] = {"file": cached}
    notes: tuple[str, ...] = ()
    if request.num_classes not in (None, facts.get("num_classes")):
        notes = (
            f"The classifier of {request.num_classes} classes is random (seed {request.seed}); "
            f"the pretrained one has {facts.get('num_classes')}.",
        )
    with torch.random.fork_rng(devices=[]), _hush():
        torch.manual_seed(request.seed)
        try:
            if cached is None:
                _knock(facts)
            module: torch.nn.Module = build(**extra)
        except Exception as error:  # any HTTP library's, and timm's own
            raise SourceError(
                f"The pretrained weights of {name} could not be had from {place}: {summary(error)}",
                hint="No network? Download the file elsewhere "
                f"({_address(facts)}) and give it with `weights='FILE'`.",
            ) from error
    return module, WeightsInfo("pretrained", seed=None, path=str(place), notes=notes)


def _hub_file(facts: dict[str, Any]) -> tuple[str, str | None, str] | None:
    """(repository, revision, file name) on the hub, or None when the weights are elsewhere."""
    if not facts.get("hf_hub_id"):
        return None
    repository, _, revision = str(facts["hf_hub_id"]).partition("@")
    return repository, revision or None, facts.get("hf_hub_filename") or "model.safetensors"


def _cached_file(facts: dict[str, Any]) -> str | None:
    """The hub's file when it was downloaded before; then no network is asked."""
    place = _hub_file(facts)
    if place is None or facts.get("custom_load"):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place[0], place[2], revision=place[1])
    return found if isinstance(found, str) else None


def _address(facts: dict[str, Any]) -> str:
    place = _hub_file(facts)
    return f"https://huggingface.co/{place[0]}" if place else str(facts.get("url"))


def _knock(facts: dict[str, Any]) -> None:
    """One short request: timm's downloader retries an unreachable hub for a minute.

    Raises:
        Exception: the server cannot be reached; a file that it does not have is timm's business.
    """
    place = _hub_file(facts)
    if place is None:
        from urllib.request import Request as HttpRequest
        from urllib.request import urlopen

        with urlopen(HttpRequest(str(facts["url"]), method="HEAD"), timeout=HUB_TIMEOUT):
            return
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(place[0], place[2], revision=place[1]), timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        return


@contextmanager
def _hush() -> Iterator[None]:
    """Silence the hub's and timm's loggers; what matters is in the exception."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "timm", "httpx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
