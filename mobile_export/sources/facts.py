"""What is known of a model by its name: `mobile-export info MODEL`.

Of a built-in model no torch is imported: its row, the stored counts and the papers' tables say all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..models.composition import is_composition
from .request import is_folder

if TYPE_CHECKING:
    from ..models.entry import ModelEntry

__all__ = ["ModelFacts", "PrintedFigures", "model_facts"]


@dataclass(frozen=True)
class PrintedFigures:
    """A row that a paper prints of the model.

    Attributes:
        place: paper and table.
        size: (height, width) in pixels; None where the paper does not say.
        params_m, macs_m: in millions; None where not printed.
        value: accuracy in percent by ``metric``; None where not printed.
    """

    place: str
    size: tuple[int, int] | None
    params_m: float | None
    macs_m: float | None
    metric: str
    value: float | None


@dataclass(frozen=True)
class ModelFacts:
    """A model that has a name here.

    Attributes:
        task: what it is for; None where timm does not say.
        input_shape: at its default size, batch first.
        channel_order: "RGB" or "BGR".
        sizes: which heights and widths it takes, in words.
        mean, std: normalisation of pixels scaled to [0, 1].
        recipe: how its authors bring a picture to the size; None: not known.
        num_classes: of the official weights; None: it tells no classes apart.
        options: the values that each can have, the default first: ``NAME?key=value``.
        params_m, macs_m: our count in millions at the default size, and None where counting takes
            more than a look.
        weights: where the official ones are; of timm's, the name that `pretrained` takes before it.
        variants: other names of the same family.
        printed: rows of papers.
    """

    name: str
    family: str
    task: str | None
    input_shape: tuple[int, ...]
    channel_order: str
    sizes: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: str | None
    num_classes: int | None
    options: dict[str, tuple[str, ...]]
    params_m: float | None
    macs_m: float | None
    weights: tuple[str, ...]
    variants: tuple[str, ...]
    printed: tuple[PrintedFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def model_facts(spec: str) -> ModelFacts:
    """What is known of a built-in model, ``BACKBONE+HEAD``, ``timm/NAME`` or ``torchvision/NAME``.

    Raises:
        UsageError: it names code or a file.
        SourceError: there is no such model.
        MissingExtraError: timm or torchvision is not installed.
    """
    if is_composition(spec):
        return _composed_facts(spec)
    if spec.startswith("timm/"):
        return _timm_facts(spec)
    if spec.startswith("torchvision/"):
        return _torchvision_facts(spec)
    if ":" in spec or spec.endswith(".pt2") or spec.startswith("hf/") or is_folder(spec):
        raise UsageError(
            f"{spec!r} is not a name of a built-in model, of timm's or of torchvision's.",
            hint="Your own code and programs say themselves what they take; `mobile-export inspect "
            "FILE` shows what is in an exported file.",
        )
    from .names import entry_of

    return _zoo_facts(entry_of(spec)[0])


def _zoo_facts(entry: ModelEntry) -> ModelFacts:
    from ..models import table
    from ..models.checkpoints import public_checkpoint
    from ..models.cost import stored_cost

    counted = stored_cost(entry.name, entry.size, entry.num_classes)
    recipe = entry.recipe
    known = public_checkpoint(entry.name)
    public = known.said if known is not None else entry.published.code
    return ModelFacts(
        name=entry.name,
        family=entry.family,
        task=entry.task,
        input_shape=entry.input_shape(),
        channel_order=entry.channel_order,
        sizes=entry.sizes,
        mean=entry.mean,
        std=entry.std,
        recipe=None if recipe is None else recipe.said,
        num_classes=entry.num_classes,
        options=dict(entry.options),
        params_m=None if counted is None else counted.parameters / 1e6,
        macs_m=None if counted is None else counted.macs / 1e6,
        weights=() if public is None else (public,),
        variants=tuple(
            other.name
            for other in table.entries()
            if other.family == entry.family and other.name != entry.name
        ),
        printed=_printed(entry.name),
    )


def _printed(name: str) -> tuple[PrintedFigures, ...]:
    from ..models.papers import paper_rows

    return tuple(
        PrintedFigures(row.place, row.size, row.params_m, row.macs_m, row.metric, row.value)
        for row in paper_rows()
        if row.name == name and (row.params_m, row.macs_m, row.value) != (None, None, None)
    )


def _timm_facts(spec: str) -> ModelFacts:
    from .names import timm_name

    timm_name(spec)
    import timm

    from ..models.cost import stored_cost
    from .timm import default_config, known_name, recipe_of, tags_of

    name = known_name(spec)
    facts = default_config(name)
    channels, height, width = facts["input_size"]
    fixed = bool(facts.get("fixed_input_size"))
    architecture = name.partition(".")[0]
    counted = stored_cost(f"timm/{architecture}", (height, width), None)
    recipe = recipe_of(facts)
    return ModelFacts(
        name=spec,
        family=timm.models.model_entrypoint(architecture).__module__.rpartition(".")[2],
        task="classification" if facts.get("num_classes") else None,
        input_shape=(1, channels, height, width),
        channel_order="RGB",
        sizes="this one; others make new weights" if fixed else "any that its layers divide",
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        recipe=None if recipe is None else recipe.said,
        num_classes=facts.get("num_classes") or None,
        options={},
        params_m=None if counted is None else counted.parameters / 1e6,
        macs_m=None if counted is None else counted.macs / 1e6,
        weights=tags_of(architecture),
        variants=(),
        printed=_printed(f"timm/{architecture}"),
    )


def _composed_facts(spec: str) -> ModelFacts:
    """A head on the backbone of another model, from which the input comes."""
    from ..models.composition import OUTPUT_STRIDES, parse
    from ..models.cost import stored_cost
    from ..models.heads import HEADS
    from .names import composition_name

    composition_name(spec)
    parts = parse(spec)
    head = parts.head
    backbone = model_facts(parts.backbone)
    counted = stored_cost(spec, head.size, head.num_classes)
    options = dict(head.options)
    if parts.backbone.startswith("timm/"):
        options["output_stride"] = tuple(map(str, reversed(OUTPUT_STRIDES)))
    return ModelFacts(
        name=spec,
        family=f"{backbone.family} with {head.title}; {head.source}",
        task=head.task,
        input_shape=(*backbone.input_shape[:2], *head.size),
        channel_order=backbone.channel_order,
        sizes=backbone.sizes,
        mean=backbone.mean,
        std=backbone.std,
        recipe=None,
        num_classes=head.num_classes,
        options=options,
        params_m=None if counted is None else counted.parameters / 1e6,
        macs_m=None if counted is None else counted.macs / 1e6,
        weights=(),
        variants=tuple(f"{parts.backbone}+{name}" for name in HEADS if name != head.name),
        printed=_printed(spec),
    )


def _torchvision_facts(spec: str) -> ModelFacts:
    from .names import torchvision_name

    name = torchvision_name(spec)
    from .torchvision import facts_of

    facts = facts_of(name)
    clip = (16,) if facts.kind == "video" else ()
    return ModelFacts(
        name=spec,
        family=facts.kind,
        task={"video": "classification", "optical_flow": None}.get(facts.kind, facts.kind),
        input_shape=(1, 3, *clip, *facts.size),
        channel_order="RGB",
        sizes="any that its layers divide",
        mean=facts.mean,
        std=facts.std,
        recipe=None if facts.recipe is None else facts.recipe.said,
        num_classes=len(facts.categories) or (1000 if facts.kind == "classification" else None),
        options={},
        params_m=None,
        macs_m=None,
        weights=() if facts.url is None else (f"{facts.weights}: {facts.url}",),
        variants=(),
        printed=(),
    )
