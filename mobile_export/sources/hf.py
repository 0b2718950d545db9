"""``hf/ORG/NAME``, or a folder with config.json: a vision model of the library transformers.

What comes from the hub or lies in the folder is data. Its configuration chooses one of the classes
of the installed transformers, from a list of those that take pictures; code beside it is never
looked at, weights are safetensors only, and of a repository nothing but JSON and safetensors is
downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SourceError, UsageError, WeightsError, summary
from ..graph.source import Source
from ..graph.specs import InputSpec, Recipe, Task, WeightsInfo
from ..system.files import MIB, read_regular_file
from ..system.options import shortened
from .calls import Bound, bind_named
from .inputs import NamedInput
from .labels import labels_for
from .names import hf_name, near_matches
from .request import ModelRequest

if TYPE_CHECKING:
    import torch

__all__ = ["load_hf"]

_PREFIX = "hf/"
_CONFIG, _PICTURES = "config.json", "preprocessor_config.json"
_LARGEST_JSON = 16 * MIB
_LARGEST_NUMBER = 2**26
"""In a configuration: no layer of a vision model is wider"""
_MOST_LAYERS = 4096
_DEEPEST = 16

_TASKS: dict[str, Task | None] = {
    "IMAGE_CLASSIFICATION": "classification",
    "VIDEO_CLASSIFICATION": "classification",
    "SEMANTIC_SEGMENTATION": "segmentation",
    "DEPTH_ESTIMATION": None,
    "OBJECT_DETECTION": None,
    "IMAGE_SEGMENTATION": None,
    "INSTANCE_SEGMENTATION": None,
    "UNIVERSAL_SEGMENTATION": None,
    "IMAGE_TO_IMAGE": None,
    "IMAGE": None,
    "KEYPOINT_DETECTION": None,
    "MASKED_IMAGE_MODELING": None,
    "ZERO_SHOT_IMAGE_CLASSIFICATION": None,
}
"""Of transformers' tables of classes, those of models that take pictures"""

_NOT_OURS = ("auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation")
"""Keys of a configuration that name code: they are dropped"""


def load_hf(request: ModelRequest) -> Source:
    """Build a model of transformers; see `mobile_export.sources.table.load_source`."""
    name = hf_name(request.spec)
    folder = _folder(name, request)
    content = _json(folder / _CONFIG, request.spec)
    kind, task = _class_of(content, request.spec)
    config = _config(content, request)
    pictures = _pictures(folder, request.spec)
    mean, std, size, recipe = _preparation(pictures, config, request.spec)
    spec = request.input_spec(
        size=size,
        channels=int(_part(config, "num_channels") or 3),
        frames=_part(config, "num_frames") if "Video" in kind.__name__ else None,
        mean=mean,
        std=std,
    )
    stored = sorted(folder.glob("*.safetensors"))
    own = request.weights is None and bool(stored) and (request.pretrained or _is_local(request))
    try:
        if own:
            module, info = _filled(kind, config, folder, stored, request)
        else:
            module, info = _made(kind, config, spec, request)
    except WeightsError:
        raise
    except Exception as error:  # transformers raises whatever a configuration provokes
        raise SourceError(
            f"transformers could not build {request.spec}: {summary(error)}",
            hint=f"Its class is {kind.__name__}; is the configuration one of this version's?",
        ) from error
    bound = _bound(module.eval(), request, spec, config)
    first, *others = bound.inputs
    labels = _labels(config, request) if task is not None else None
    return Source(
        request.spec,
        bound.module,
        first,
        None,
        labels,
        info,
        task=task,
        meanings={"logits": "logits"} if task is not None else {},
        recipe=recipe,
        others=tuple(others),
    )


def _is_local(request: ModelRequest) -> bool:
    return not request.spec.startswith(_PREFIX)


def _folder(name: str, request: ModelRequest) -> Path:
    """The folder of the configuration: the user's, or the hub's in the cache.

    Raises:
        SourceError: the hub cannot be reached, or has no such repository.
    """
    if _is_local(request):
        if request.pretrained:
            raise UsageError(
                f"`pretrained` is for hf/ORG/NAME; {request.spec} has its weights in it.",
                hint="Leave `pretrained` out.",
            )
        return Path(name)
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    wanted = [_CONFIG, _PICTURES]
    if request.pretrained:
        wanted += ["model*.safetensors", "model.safetensors.index.json"]
    asked = {"revision": revision or None, "allow_patterns": wanted}
    try:
        return Path(snapshot_download(repository, **asked, local_files_only=True))
    except Exception:  # noqa: BLE001 - not in the cache, in the words of any version
        pass
    try:
        return Path(snapshot_download(repository, **asked, etag_timeout=5, max_workers=1))
    except Exception as error:  # any HTTP library's
        raise SourceError(
            f"{request.spec} could not be had from https://huggingface.co/{repository}: "
            f"{summary(error)}",
            hint="No network? Download the repository elsewhere and name its folder.",
        ) from error


def _json(path: Path, spec: str) -> dict[str, Any]:
    if not path.is_file():
        raise SourceError(
            f"{spec} has no {path.name}.",
            hint="A model of transformers is a folder with config.json and *.safetensors.",
        )
    content = read_regular_file(path, limit=_LARGEST_JSON, error=SourceError)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read: {summary(error)}.") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path} holds no JSON object.")
    return found


def _allowed() -> dict[str, Task | None]:
    """The classes of transformers that take pictures, and what they are for."""
    from transformers.models.auto import modeling_auto

    found: dict[str, Task | None] = {}
    for name, task in reversed(_TASKS.items()):
        table = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", {})
        for classes in table.values():
            for each in [classes] if isinstance(classes, str) else classes:
                found[each] = task
    return found


def _class_of(content: Mapping[str, Any], spec: str) -> tuple[Any, Task | None]:
    import transformers

    named = content.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    allowed = _allowed()
    if not isinstance(name, str) or name not in allowed:
        near = near_matches(name, list(allowed)) if isinstance(name, str) else []
        guess = f"It resembles {', '.join(near)}. " if near else ""
        raise SourceError(
            f"{spec} is a {shortened(str(name))}, which is none of the {len(allowed)} vision "
            f"models of transformers {transformers.__version__}.",
            hint=f"{guess}Code in a repository is never run here: load such a model in a factory "
            "of your own and give that as MODULE:FUNCTION.",
        )
    return getattr(transformers, name), allowed[name]


def _config(content: dict[str, Any], request: ModelRequest) -> Any:
    """The configuration object of transformers, of plain values within bounds."""
    from transformers import AutoConfig

    if content.get("quantization_config") is not None:
        raise SourceError(
            f"{request.spec} has quantised weights (quantization_config).",
            hint="Name the floating-point model; `precision` says what a file stores.",
        )
    plain = _bounded(content, request.spec)
    plain |= {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
    if request.num_classes is not None and request.num_classes != len(plain.get("id2label") or ()):
        plain = {k: v for k, v in plain.items() if k not in ("id2label", "label2id")}
        plain["num_labels"] = request.num_classes
    model_type = plain.pop("model_type", None)
    try:
        config = AutoConfig.for_model(str(model_type), **plain)
    except Exception as error:  # transformers checks values in many ways
        raise SourceError(
            f"The configuration of {request.spec} is none that transformers takes: "
            f"{summary(error)}",
        ) from error
    return config


def _bounded(value: Any, spec: str, key: str = "", depth: int = 0) -> Any:
    """``value`` without what names code or asks for other files.

    Raises:
        SourceError: a number in it is too large for any model.
    """
    if depth > _DEEPEST:
        raise SourceError(f"The configuration of {spec} is nested too deep.")
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in _NOT_OURS}
        found = {k: _bounded(v, spec, str(k), depth + 1) for k, v in kept.items()}
        if "use_pretrained_backbone" in found:
            found["use_pretrained_backbone"] = False
        return {k: v for k, v in found.items() if k not in ("dtype", "torch_dtype")}
    if isinstance(value, list):
        return [_bounded(each, spec, key, depth + 1) for each in value]
    limit = _MOST_LAYERS if "layers" in key or "depth" in key else _LARGEST_NUMBER
    if isinstance(value, int | float) and not abs(value) <= limit and "token" not in key:
        raise SourceError(f"The configuration of {spec} has {key} = {value}.")
    return value


def _part(config: Any, name: str) -> Any:
    """A value of a configuration, or of its part for pictures."""
    value = getattr(config, name, None)
    return getattr(getattr(config, "vision_config", None), name, None) if value is None else value


def _pictures(folder: Path, spec: str) -> dict[str, Any]:
    return _json(folder / _PICTURES, spec) if (folder / _PICTURES).is_file() else {}


_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its filters, which a processor's configuration has"""


def _preparation(
    pictures: Mapping[str, Any], config: Any, spec: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, int], Recipe | None]:
    """Mean, standard deviation, size and recipe of a picture, as the processor's file has them."""
    normalised = pictures.get("do_normalize", bool(pictures))
    mean = _floats(pictures.get("image_mean")) if normalised else None
    std = _floats(pictures.get("image_std")) if normalised else None
    resized, cropped = _extent(pictures.get("size")), _extent(pictures.get("crop_size"))
    if not pictures.get("do_center_crop", True):
        cropped = None
    stated = _extent(_part(config, "image_size"))
    size = cropped or stated or resized or (224, 224)
    recipe = None
    if resized and cropped and resized[0] > 0:
        way = _RESAMPLE.get(pictures.get("resample", 2), "bilinear")
        said = f"{_PICTURES} of {shortened(spec)}"
        recipe = Recipe(cropped[0] / resized[0], "center", way, said)
    return mean or (0.0,), std or (1.0,), size, recipe


def _floats(value: Any) -> tuple[float, ...] | None:
    if isinstance(value, list) and value and all(isinstance(n, int | float) for n in value):
        return tuple(float(n) for n in value)
    return None


def _extent(value: Any) -> tuple[int, int] | None:
    """(height, width) from the ways in which transformers writes a size."""
    if isinstance(value, dict):
        edge = value.get("shortest_edge")
        value = [value.get("height", edge), value.get("width", edge)]
    pair = [value, value] if isinstance(value, int) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    if not all(isinstance(n, int) and 0 < n < 2**14 for n in pair):
        return None
    return int(pair[0]), int(pair[1])


def _made(
    kind: Any, config: Any, spec: InputSpec, request: ModelRequest
) -> tuple[torch.nn.Module, WeightsInfo]:
    """The model with the user's checkpoint, or seeded random weights.

    Those are transformers' own: many of its models read more than pictures.
    """
    import torch

    from .weights import load_weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        module: torch.nn.Module = kind(config).eval()
    if request.weights is None:
        return module, WeightsInfo("random", seed=request.seed)
    info = load_weights(
        module, request.weights, allow_missing=request.allow_missing, seed=request.seed
    )
    return module, info


def _filled(
    kind: Any, config: Any, folder: Path, stored: list[Path], request: ModelRequest
) -> tuple[torch.nn.Module, WeightsInfo]:
    """The model with the safetensors of its folder, read by transformers.

    Raises:
        WeightsError: tensors are missing, or of other shapes.
    """
    import torch

    from .weights import checkpoint_sha256

    changed = request.num_classes is not None
    with torch.random.fork_rng(devices=[]), _hush():
        torch.manual_seed(request.seed)
        module, found = kind.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=changed,
            output_loading_info=True,
        )
    odd = [str(key) for key in (*found["missing_keys"], *found["mismatched_keys"])]
    if odd and not (changed or request.allow_missing):
        raise WeightsError(
            f"The weights in {folder} do not fill {kind.__name__}: {len(odd)} tensors are missing "
            f"or of another shape: {', '.join(sorted(odd)[:8])}.",
            hint="Is config.json the one of these weights?",
        )
    notes = (f"{len(odd)} tensors are RANDOM (seed {request.seed}).",) if odd else ()
    if request.pretrained:
        return module, WeightsInfo("pretrained", path=request.spec, notes=notes)
    digest = checkpoint_sha256(stored[0] if len(stored) == 1 else folder)
    return module, WeightsInfo("checkpoint", None, str(folder), digest, notes)


def _hush() -> Any:
    """Silence transformers' report on what it loads."""
    import contextlib

    from transformers.utils import logging

    @contextlib.contextmanager
    def quiet() -> Iterator[None]:
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()

    return quiet()


def _bound(module: torch.nn.Module, request: ModelRequest, spec: InputSpec, config: Any) -> Bound:
    """The module with its inputs: those that the user named, or pictures, and words if it reads."""
    import inspect

    named = list(request.input or ())
    if not named:
        parameters = inspect.signature(module.forward).parameters
        named = [NamedInput("pixel_values", spec.shape)]
        if "input_ids" in parameters:
            words = getattr(config, "text_config", config)
            length = int(getattr(words, "max_position_embeddings", 77))
            named += [NamedInput("input_ids", (1, min(length, 512)), "int64")]
    bound = bind_named(module, request.spec, named, spec.mean, spec.std)
    if len(bound.inputs) == 1 and bound.inputs[0].role == "image":
        return replace(bound, inputs=(replace(bound.inputs[0], name="image"),))
    return bound


def _labels(config: Any, request: ModelRequest) -> tuple[str, ...] | None:
    """The class names of a configuration, unless they are placeholders or not all different."""
    names = getattr(config, "id2label", None) or {}
    found = tuple(str(names[key]) for key in sorted(names)) if isinstance(names, dict) else ()
    if not found or found[0] == "LABEL_0" or len(set(found)) != len(found):
        return labels_for(len(found)) if len(found) == 1000 else None
    return found
