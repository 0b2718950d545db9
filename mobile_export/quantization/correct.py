"""Bias correction: what rounding the weights adds to the mean of a channel is taken off its bias.

A layer with weights w + d in the place of w gives d · x more. Where x is not zero on average, as
behind ReLU, that has a mean, the same for every picture: d times the mean of x (Nagel et al. 2019,
section 4.2, with the mean measured on the calibration samples in the place of one computed from
norms). Means are taken for each element of a kernel over the places that it is multiplied at, so
that what pads a border is counted as often as it is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch.fx import Node

    from ..graph.layers import WeightedLayer

__all__ = ["InputMeans", "mean_error"]


class InputMeans:
    """The means of what layers with a bias multiply their weights by, over samples.

    Transposed convolutions are left out.
    """

    def __init__(self, layers: Iterable[WeightedLayer]) -> None:
        self._of: dict[str, list[WeightedLayer]] = {}
        for layer in layers:
            if layer.bias is not None and not layer.transposed:
                self._of.setdefault(layer.source.name, []).append(layer)
        self._sums: dict[str, torch.Tensor] = {}
        self._samples = 0

    def start_sample(self) -> None:
        """What is added from here on is of the next sample."""
        self._samples += 1

    def add(self, node: Node, value: torch.Tensor) -> None:
        """Take what ``node`` computes for one sample."""
        for layer in self._of.get(node.name, ()):
            name = layer.node.name
            means = _multiplied(layer, value)
            self._sums[name] = means + self._sums[name] if name in self._sums else means

    def __getitem__(self, layer: WeightedLayer) -> torch.Tensor | None:
        """(input channels, *kernel) in float64; None where nothing was measured."""
        found = self._sums.get(layer.node.name)
        return None if found is None else found / self._samples


def _multiplied(layer: WeightedLayer, x: torch.Tensor) -> torch.Tensor:
    """The mean of ``x`` at the places that each element of the kernel is multiplied at."""
    if not layer.rank:
        return x.double().reshape(-1, x.shape[-1]).mean(0)
    x = functional.pad(x, [each for p in reversed(layer.padding) for each in (p, p)])
    kernel = layer.weight.shape[2:]
    sizes = [
        (extent - dilation * (taps - 1) - 1) // stride * stride + 1
        for extent, taps, stride, dilation in zip(
            x.shape[2:], kernel, layer.stride, layer.dilation, strict=True
        )
    ]
    means = []
    for place in itertools.product(*map(range, kernel)):
        window: Any = tuple(
            slice(at * dilation, at * dilation + size, stride)
            for at, dilation, size, stride in zip(
                place, layer.dilation, sizes, layer.stride, strict=True
            )
        )
        means.append(x[(..., *window)].double().mean([0, *range(2, x.ndim)]))
    return torch.stack(means, -1).reshape(x.shape[1], *kernel)


def mean_error(layer: WeightedLayer, rounded: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """What ``rounded`` weights add to the mean of each output channel.

    Args:
        rounded: float64, of the shape of the layer's weight.
        means: as of `InputMeans`.
    """
    error = (rounded - layer.weight).reshape(layer.groups, -1, *layer.weight.shape[1:])
    given = means.reshape(layer.groups, 1, *layer.weight.shape[1:])
    return (error * given).flatten(2).sum(2).reshape(-1)
