"""Sources: from what the user types to an ``nn.Module`` in eval mode and the facts about its input.

    NAME?output=labels            the built-in zoo; some models have options
    timm/NAME                     PyTorch Image Models
    package.module:factory?k=v    the user's own code, imported from the current folder
    file.pt2                      a saved torch.export program

Importable without torch; what each kind needs is imported when one is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SourceError, UsageError
from .specs import InputSpec, WeightsInfo

if TYPE_CHECKING:
    import torch

__all__ = ["Request", "Source", "load_source", "parse_size"]


@dataclass(frozen=True)
class Source:
    """A model, before anything is done to it.

    Attributes:
        spec: as typed, e.g. ``emo_2m``, ``seaformer_tiny_seg?output=labels``, ``timm/resnet18``,
            ``mynet:build?width=2``, ``file.pt2``.
        module: eval mode, CPU, float32; takes one tensor of ``input.shape``.
        output_names: None when they follow from what the module returns.
        labels: ImageNet's class names for a classifier of 1000 classes, else None.
        exported: the program of a ``.pt2`` file, of which ``module`` is a view.
    """

    spec: str
    module: torch.nn.Module
    input: InputSpec
    output_names: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    weights: WeightsInfo
    exported: torch.export.ExportedProgram | None = None


@dataclass(frozen=True)
class Request:
    """What the user asked of a source beside its name; the arguments of `load_source`."""

    size: tuple[int, int] | None = None
    num_classes: int | None = None
    weights: Path | None = None
    allow_missing: bool = False
    pretrained: bool = False
    seed: int = 0
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for option, value in (("--num-classes", self.num_classes), ("--channels", self.channels)):
            if value is not None and value < 1:
                raise UsageError(f"{option} is {value}.", hint="It must be 1 or more.")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"--size is {self.size[0]}x{self.size[1]}.", hint=_SIZE_HINT)
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}.", hint="It must be from 0 to 2^63 - 1.")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise UsageError(f"--std is {self.std}.", hint="Standard deviations are above 0.")
        if self.pretrained and self.weights is not None:
            raise UsageError("--pretrained and --weights exclude each other.", hint="Give one.")
        if self.allow_missing and self.weights is None:
            raise UsageError("--allow-missing needs --weights FILE.")

    def input_spec(
        self,
        *,
        size: tuple[int, int] = (224, 224),
        channels: int = 3,
        channel_order: str = "RGB",
        frames: int | None = None,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
    ) -> InputSpec:
        """What the user asked for, or else these defaults; single values serve all channels."""
        planes = self.channels or channels
        clip = () if frames is None else (frames,)
        return InputSpec(
            shape=(1, planes, *clip, *(self.size or size)),
            mean=_per_channel("--mean", self.mean, mean, planes),
            std=_per_channel("--std", self.std, std, planes),
            channel_order="L" if planes == 1 else channel_order,
        )


def load_source(
    spec: str,
    *,
    size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    weights: Path | None = None,
    allow_missing: bool = False,
    pretrained: bool = False,
    seed: int = 0,
    channels: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Source:
    """Find, build and fill a model.

    Args:
        spec: one of the four forms in the module's docstring.
        size: (height, width) of the input in pixels; None takes the model's default.
        num_classes: of the classifier; None takes the model's default.
        weights: a checkpoint (`mobile_export.weights`).
        allow_missing: keep random values where the checkpoint has none (a changed classifier).
        pretrained: download timm's weights.
        seed: of random weights.
        channels: of the input image; None takes the model's default.
        mean, std: normalisation of pixels scaled to [0, 1]; one value, or one per channel.

    Raises:
        UsageError: an argument that is not valid, or that this kind of source does not take.
        SourceError: the model cannot be found or built; `WeightsError` for its checkpoint.
    """
    request = Request(
        size, num_classes, weights, allow_missing, pretrained, seed, channels, mean, std
    )
    if spec.endswith(".pt2"):
        from ._source_pt2 import load_program

        return load_program(spec, request)
    if spec.startswith("timm/"):
        from ._source_timm import load_timm

        return load_timm(spec, request)
    if ":" in spec:
        from ._source_factory import load_factory

        return load_factory(spec, request)
    return _load_zoo(spec, request)


_SIZE_HINT = "Give pixels: one number for a square (224), or HEIGHTxWIDTH (512x1024)."


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from ``224`` or ``512x1024``.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:[xX]([0-9]{1,6}))?", text.strip(), re.ASCII)
    height = int(match[1]) if match else 0
    width = int(match[2] or height) if match else 0
    if height < 1 or width < 1:
        raise UsageError(f"--size {text!r} is not a size.", hint=_SIZE_HINT)
    return height, width


def prepare(
    factory: Callable[[], torch.nn.Module], spec: InputSpec, request: Request
) -> tuple[torch.nn.Module, WeightsInfo]:
    """Build a zoo or timm model with the weights asked for: a checkpoint's, or sane random ones."""
    import torch

    from .initialize import initialize_randomly
    from .weights import load_weights

    if request.weights is None:
        module = initialize_randomly(factory, spec.shape, request.seed)
        return module, WeightsInfo("random", seed=request.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        module = factory().eval()
    info = load_weights(
        module, request.weights, allow_missing=request.allow_missing, seed=request.seed
    )
    return module, info


def _load_zoo(spec_text: str, request: Request) -> Source:
    from .labels import labels_for
    from .models import registry

    name, _, query = spec_text.partition("?")
    if name not in registry.names():
        raise _unknown_name(name)
    entry = registry.get(name)
    options = entry.parse_options(query)
    if request.pretrained:
        raise UsageError(
            f"--pretrained is for timm/NAME; {name} has no weights on a hub.",
            hint=f"Download the official file from {entry.published.code} and give it with "
            "--weights FILE."
            if entry.published.code
            else "No weights of it are public; your own go in with --weights FILE.",
        )
    spec = request.input_spec(
        size=entry.size,
        channels=entry.channels,
        channel_order=entry.channel_order,
        frames=entry.frames,
        mean=entry.mean,
        std=entry.std,
    )
    entry.check_size(spec.size)
    module, info = prepare(
        lambda: entry.build(request.num_classes, size=spec.size, in_chans=spec.shape[1], **options),
        spec,
        request,
    )
    classes = request.num_classes or entry.num_classes
    labels = labels_for(classes) if entry.task == "classification" else None
    return Source(spec_text, module, spec, None, labels, info)


def _unknown_name(name: str) -> SourceError:
    from .models import registry

    path = Path(name)
    if path.suffix in {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}:
        return SourceError(
            f"{name!r} is a checkpoint: it holds weights, not the model that they belong to.",
            hint=f"Name the model too, for example: emo_2m --weights {name}",
        )
    if path.suffix == ".py" or Path(f"{name.replace('.', '/')}.py").is_file():
        module = ".".join(path.with_suffix("").parts) if path.suffix == ".py" else name
        return SourceError(
            f"{name!r} is a Python module; which function makes the model?",
            hint=f"Give it as {module}:FUNCTION",
        )
    known = registry.names()
    timm_names = _timm_names()
    near = near_matches(name, [*known, *(f"timm/{n}" for n in timm_names)])
    if name in timm_names:
        near = [f"timm/{name}", *(n for n in near if n != f"timm/{name}")]
    guess = f"Did you mean {' or '.join(near[:3])}? " if near else ""
    return SourceError(
        f"There is no model called {name!r}.",
        hint=f"{guess}Run `mobile-export list` for the built-in names; timm/NAME takes any timm "
        "model, MODULE:FUNCTION your own, FILE.pt2 a saved program.",
    )


def _timm_names() -> list[str]:
    try:
        import timm
    except ImportError:
        return []
    return list(timm.list_models())


def near_matches(name: str, known: list[str]) -> list[str]:
    """Up to three known names that resemble a misspelt one, best first, ignoring case and -/_."""
    import difflib

    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
        folded.setdefault(_fold(candidate.rsplit("/", 1)[-1]), candidate)
    found = difflib.get_close_matches(_fold(name), list(folded), n=6, cutoff=0.6)
    return list(dict.fromkeys(folded[match] for match in found))[:3]


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _per_channel(
    option: str, given: tuple[float, ...] | None, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) == channels:
        return tuple(float(value) for value in values)
    if len(values) == 1:
        return (float(values[0]),) * channels
    if given is None:  # an RGB model that was built for another number of channels
        return (sum(values) / len(values),) * channels
    raise UsageError(
        f"{option} has {len(values)} values, but the image has {channels} channels.",
        hint=f"Give one value, or {channels}.",
    )
