"""Parameters and multiply-accumulates (MACs) of a model: counted, or read from the stored counts.

What counts as a MAC is what papers on mobile models print as "FLOPs", following fvcore's
``FlopCountAnalysis``, with which EMO's Table 7 was made:

- convolution, linear, matrix product (attention included): one per multiply-accumulate, bias free;
- batch norm in eval mode: 2 per element; layer and group norm: 5 per element with an affine, 4
  without;
- activations, sums, poolings and moves of data: nothing.

Nothing is computed for a count, but building the modules takes torch and seconds. So the counts of
the built-in models, and of timm's in the papers' tables, are stored in ``data/costs.csv``, which
``python scripts/count_models.py`` writes. Importable without torch, which only counting needs.
"""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from .entry import ModelEntry

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "TIMM",
    "TORCHVISION",
    "Cost",
    "default_classes",
    "measure",
    "measure_entry",
    "measure_named",
    "measure_timm",
    "stored_cost",
]

TIMM, TORCHVISION = "timm/", "torchvision/"
"""How the names of these libraries' models begin."""
_CLIP = 16
"""Frames that a video model of torchvision's is counted for."""


@dataclass(frozen=True)
class Cost:
    """Size of a model for one image.

    Attributes:
        parameters: number of trainable scalars (buffers such as running means not counted).
        macs: multiply-accumulates of one forward pass, normalisations included (see the module).
        norm_macs: the part of ``macs`` that is normalisation, most of which vanishes when norms
            are folded into convolutions.
    """

    parameters: int
    macs: int
    norm_macs: int


def stored_cost(name: str, size: tuple[int, int], classes: int | None) -> Cost | None:
    """The stored count of a model at this (height, width); None if there is none.

    Args:
        name: of a built-in model, with its options, ``BACKBONE+HEAD``, ``timm/NAME`` or
            ``torchvision/NAME``.
        classes: that the model tells apart; None for a model that tells none apart, and for those
            of libraries as they are.
    """
    return _stored().get((name, *size, classes))


@cache
def _stored() -> dict[tuple[str, int, int, int | None], Cost]:
    text = resources.files("mobile_export.models.data").joinpath("costs.csv").read_text("utf-8")
    return {
        (
            row["name"],
            int(row["height"]),
            int(row["width"]),
            int(row["classes"]) if row["classes"] else None,
        ): Cost(int(row["parameters"]), int(row["macs"]), int(row["norm_macs"]))
        for row in csv.DictReader(text.splitlines())
    }


def measure(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Count one forward pass of a module on an input of this shape (batch first).

    Nothing is computed: parameters and buffers are replaced by shapes for the call ("meta"
    tensors). A module that holds tensors elsewhere is run for real instead.

    Raises:
        Exception: whatever the module raises when it refuses the shape.
    """
    import torch
    from torch.func import functional_call

    parameters = sum(p.numel() for p in module.parameters())
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    was_training = module.training
    module.eval()
    try:
        try:
            with torch.device("meta"), _counter() as counter, torch.no_grad():
                functional_call(module, shapes, (torch.empty(input_shape),))
        except (RuntimeError, NotImplementedError):
            with _counter() as counter, torch.no_grad():
                module(torch.zeros(input_shape))
    finally:
        module.train(was_training)
    return Cost(parameters, *_totals(counter))


def default_classes(name: str) -> int | None:
    """The number of classes under which the count of a model is stored.

    None for a model that tells none apart, and for those of libraries.
    """
    from . import table
    from .composition import is_composition, parse

    if is_composition(name):
        return parse(name).head.num_classes
    if name.startswith((TIMM, TORCHVISION)):
        return None
    return table.get(name.partition("?")[0]).num_classes


def measure_named(name: str, size: tuple[int, int], classes: int | None) -> Cost:
    """Count a model by its name for one input of ``size`` (height, width).

    Args:
        name: of a built-in model, with its options, ``BACKBONE+HEAD``, ``timm/NAME`` or
            ``torchvision/NAME``.
        classes: None is the model's own number.

    Raises:
        ImportError: its library is not installed.
        RuntimeError: that has no such model.
        MobileExportError: there is no such model here.
    """
    from . import table
    from .composition import is_composition

    if is_composition(name):
        return _measure_composition(name, size, classes)
    if name.startswith(TIMM):
        return measure_timm(name, size)
    if name.startswith(TORCHVISION):
        return _measure_torchvision(name, size)
    plain, _, query = name.partition("?")
    entry = table.get(plain)
    return measure_entry(entry, size, classes, entry.parse_options(query))


def _measure_composition(name: str, size: tuple[int, int], classes: int | None) -> Cost:
    import torch

    from .backbones import named_backbone
    from .composition import compose, parse

    parts = parse(name)
    with torch.device("meta"):
        backbone = named_backbone(parts.backbone, size, parts.output_stride)
        module = compose(parts, backbone, classes)
    return measure(module, (1, 3, *size))


def _measure_torchvision(name: str, size: tuple[int, int]) -> Cost:
    """Without what its training alone needs: auxiliary classifiers."""
    import torch
    from torchvision import models

    builder = models.get_model_builder(name.removeprefix(TORCHVISION))
    taken = inspect.signature(builder).parameters
    none = {key: None for key in ("weights", "weights_backbone") if key in taken}
    clip = (_CLIP,) if ".video." in builder.__module__ else ()
    with torch.device("meta"):
        module = builder(**none)
    for part in ("aux1", "aux2", "AuxLogits", "aux_classifier"):
        if hasattr(module, part):
            setattr(module, part, None)
    return measure(module, (1, 3, *clip, *size))


def measure_entry(
    entry: ModelEntry,
    size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Cost:
    """Count a built-in model for one input of ``size`` (height, width), None: its default.

    MACs are what a second input adds to the first: what a model computes from its weights alone
    (TVConv's weight maps) is a constant of the exported file.

    Args:
        num_classes: None is the official number.
        options: of the row, that are not the defaults.
    """
    import torch

    with torch.device("meta"):
        module = entry.build(num_classes, size=size, **(options or {}))
    shape = entry.input_shape(size)
    one, two = measure(module, shape), measure(module, (2, *shape[1:]))
    return Cost(one.parameters, two.macs - one.macs, two.norm_macs - one.norm_macs)


def measure_timm(name: str, size: tuple[int, int]) -> Cost:
    """Count ``timm/NAME`` for one image of ``size`` (height, width).

    The branches of MobileOne, FastViT and their like are merged, as papers count them and phones
    run them.

    Raises:
        ImportError: timm is not installed.
        RuntimeError: it has no such model.
    """
    import timm
    from timm.utils import reparameterize_model

    module = timm.create_model(name.removeprefix(TIMM)).eval()
    return measure(reparameterize_model(module), (1, 3, *size))


def _counter() -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False, custom_mapping=_norms())


def _totals(counter: FlopCounterMode) -> tuple[int, int]:
    """MACs of everything, and of the normalisations."""
    per_op = counter.get_flop_counts().get("Global", {})
    norms = sum(flops for op, flops in per_op.items() if op in _norms())
    return sum(per_op.values()) // 2, norms // 2


@cache
def _norms() -> dict[Any, Callable[..., int]]:
    """The formula of every normalisation; FlopCounterMode counts two per MAC, so these do too."""
    import torch

    aten = torch.ops.aten
    return {
        aten.native_batch_norm: _batch_norm,
        aten.cudnn_batch_norm: _batch_norm,
        aten._native_batch_norm_legit: _batch_norm,
        aten._native_batch_norm_legit_no_training: _batch_norm,
        aten._batch_norm_no_update: _batch_norm,
        aten.native_layer_norm: _layer_norm,
        aten.native_group_norm: _group_norm,
    }


def _batch_norm(x_shape: torch.Size, weight: torch.Size | None = None, *_: Any, **__: Any) -> int:
    return 2 * x_shape.numel() * (1 if weight is None else 2)


def _layer_norm(
    x_shape: torch.Size, normalized: Any, weight: torch.Size | None = None, *_: Any, **__: Any
) -> int:
    return 2 * x_shape.numel() * (4 if weight is None else 5)


def _group_norm(x_shape: torch.Size, weight: torch.Size | None = None, *_: Any, **__: Any) -> int:
    return 2 * x_shape.numel() * (4 if weight is None else 5)
