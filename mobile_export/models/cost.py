"""Count the parameters and multiply-accumulates (MACs) of a module, without running it for real.

What counts as a MAC is what papers on mobile models print as "FLOPs", following fvcore's
``FlopCountAnalysis``, with which EMO's Table 7 was made:

- convolution, linear, matrix product (attention included): one per multiply-accumulate, bias free;
- batch norm in eval mode: 2 per element; layer and group norm: 5 per element with an affine, 4
  without;
- activations, sums, poolings and moves of data: nothing.

`Cost.norm_macs` holds the share of the normalisations, most of which vanish when they are folded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from .entry import ModelEntry

__all__ = ["Cost", "measure", "measure_entry"]


@dataclass(frozen=True)
class Cost:
    """Size of a model for one image.

    Attributes:
        parameters: number of trainable scalars (buffers such as running means not counted).
        macs: multiply-accumulates of one forward pass, normalisations included (see the module).
        norm_macs: the part of ``macs`` that is normalisation.
    """

    parameters: int
    macs: int
    norm_macs: int


def _batch_norm(x_shape: torch.Size, weight: torch.Size | None = None, *_: Any, **__: Any) -> int:
    return 2 * x_shape.numel() * (1 if weight is None else 2)


def _layer_norm(
    x_shape: torch.Size, normalized: Any, weight: torch.Size | None = None, *_: Any, **__: Any
) -> int:
    return 2 * x_shape.numel() * (4 if weight is None else 5)


def _group_norm(x_shape: torch.Size, weight: torch.Size | None = None, *_: Any, **__: Any) -> int:
    return 2 * x_shape.numel() * (4 if weight is None else 5)


_ATEN = torch.ops.aten
# FlopCounterMode counts two flops per MAC, so these do too.
_NORMS = {
    _ATEN.native_batch_norm: _batch_norm,
    _ATEN.cudnn_batch_norm: _batch_norm,
    _ATEN._native_batch_norm_legit: _batch_norm,
    _ATEN._native_batch_norm_legit_no_training: _batch_norm,
    _ATEN._batch_norm_no_update: _batch_norm,
    _ATEN.native_layer_norm: _layer_norm,
    _ATEN.native_group_norm: _group_norm,
}


def measure(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Count one forward pass of a module on an input of this shape (batch first).

    Nothing is computed: parameters and buffers are replaced by shapes for the call ("meta"
    tensors). A module that holds tensors elsewhere is run for real instead.

    Raises:
        Exception: whatever the module raises when it refuses the shape.
    """
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
    total, norms = _totals(counter)
    return Cost(parameters, total, norms)


def measure_entry(
    entry: ModelEntry, size: tuple[int, int] | None = None, num_classes: int | None = None
) -> Cost:
    """Count a built-in model for one input of ``size`` (height, width), None: its default.

    MACs are what a second input adds to the first: what a model computes from its weights alone
    (TVConv's weight maps) is a constant of the exported file.

    Args:
        num_classes: None is the official number.
    """
    with torch.device("meta"):
        module = entry.build(num_classes, size=size)
    shape = entry.input_shape(size)
    one, two = measure(module, shape), measure(module, (2, *shape[1:]))
    return Cost(one.parameters, two.macs - one.macs, two.norm_macs - one.norm_macs)


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_NORMS)


def _totals(counter: FlopCounterMode) -> tuple[int, int]:
    per_op = counter.get_flop_counts().get("Global", {})
    norms = sum(flops for op, flops in per_op.items() if op in _NORMS)
    return sum(per_op.values()) // 2, norms // 2
