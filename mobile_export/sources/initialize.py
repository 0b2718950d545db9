"""Random weights that are numerically sane: a file made with them can be judged.

Careless random weights lie twice. They hide: a layer scale of 1e-6, or a norm weight that starts
at zero, makes a whole branch invisible, so that a converter may get it wrong unnoticed. And they
shout: batch-norm statistics that have nothing to do with the activations make a deep network
chaotic, so that PyTorch's own float32 differs from float64 by tens of percent and a correct file
looks wrong.

So: the model's own initialisation; then every parameter that is constant or tiny is perturbed;
then batch-norm statistics are taken from a forward pass on natural images and on noise; and where
the network still amplifies small differences, the variances of quiet channels are raised until it
does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import SourceError
from ..graph.capture import flatten_outputs
from ..graph.user_code import described, guarded, place_in_code

__all__ = [
    "collect_norm_statistics",
    "initialize_randomly",
    "natural_images",
    "perturb_constants",
]

TINY = 1e-3
BRANCH_SCALE = 0.2
PLANS = ((4,), (1, 1, 1, 1))
FLOORS = (0.1, 0.5, 1.0)
AMPLIFICATION = 15.0
WORST_ELEMENT = 3.0


def initialize_randomly(
    factory: Callable[[], nn.Module], input_shape: tuple[int, ...], seed: int
) -> nn.Module:
    """Build a module with sane random weights, in eval mode.

    Args:
        factory: builds the module; called once, under ``torch.manual_seed(seed)``.
        input_shape: (N, C, H, W) that the module will be called with, or (N, C, T, H, W) of a
            clip; N is ignored.
        seed: same seed, same weights, in every process. The caller's random state is untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory()
        generator = torch.Generator().manual_seed(seed + 1)
        perturb_constants(module, generator)
        collect_norm_statistics(module, input_shape, generator)
    # Some modules keep tables computed from their parameters between eval calls (timm's LeViT),
    # and drop them when they enter training mode.
    return module.train().eval()


@torch.no_grad()
def perturb_constants(module: nn.Module, generator: torch.Generator) -> None:
    """Give every parameter that is constant or tiny a value of its own, in place.

    With n standard normal: a constant c ≠ 0 (norm weights, temperatures) becomes c·(1 + 0.1 n); a
    bias that starts at zero becomes 0.1 n; a scale that starts at (nearly) zero becomes 0.2·(1 +
    0.1 n); a matrix of zeros becomes n / √fan_in; a table or embedding of zeros becomes 0.02 n.
    Parameters that the model initialised at random stay as they are.
    """
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        low, high = (float(x) for x in torch.aminmax(parameter))
        tiny = max(abs(low), abs(high)) < TINY
        if not tiny and low != high:
            continue
        noise = torch.empty(parameter.shape).normal_(generator=generator)
        leaf = name.rsplit(".", 1)[-1].lower()
        vector = sum(extent > 1 for extent in parameter.shape) <= 1
        if not tiny:
            value = low * (1 + 0.1 * noise)
        elif vector and ("bias" in leaf or "beta" in leaf):
            value = 0.1 * noise
        elif vector:
            value = BRANCH_SCALE * (1 + 0.1 * noise)
        elif leaf == "weight":
            value = noise / sqrt(prod(parameter.shape[1:]))
        else:
            value = 0.02 * noise
        parameter.copy_(value)


@torch.no_grad()
def collect_norm_statistics(
    module: nn.Module, input_shape: tuple[int, ...], generator: torch.Generator
) -> None:
    """Set running means and variances from one forward pass on four images, in place.

    Only batch norms are in training mode during the pass. A model that takes no batch of four is
    given single images. One that refuses those as well, and in eval mode too, keeps its statistics:
    it takes no images of this size, and whoever calls it next says so.

    Four images say little about a channel that is nearly always off, and dividing by the little
    variance that it showed makes other images chaotic. So a channel's variance is at least
    `FLOORS[0]` times the mean of its layer; and as long as a small change of the input changes the
    output more than `AMPLIFICATION` times as much, the next floor is taken. (Rounding grows
    likewise: timm models at 20 to 40 are 1 to 2 % of their largest output off in float16, whoever
    computes it, and at 1000 about 5e-4 in float32.)

    Raises:
        SourceError: the model runs in eval mode, but not with its norms in training mode.
    """
    norms = [
        m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]
    if not norms:
        return
    module.eval()
    plan = _first_plan(module, norms, input_shape, generator)
    if plan is None:
        return
    probe = _mixed_images((2, *input_shape[1:]), generator)
    nudge = 1e-4 * torch.empty(probe.shape).normal_(generator=generator)
    for floor in FLOORS:
        for norm in norms:
            _settle(norm, floor, generator)
        if (
            floor == FLOORS[-1]
            or _amplification(module, probe, nudge, len(plan) > 1) < AMPLIFICATION
        ):
            break


def _first_plan(
    module: nn.Module,
    norms: list[_BatchNorm],
    input_shape: tuple[int, ...],
    generator: torch.Generator,
) -> tuple[int, ...] | None:
    """The first of `PLANS` (sizes of batches) that the model takes; the norms have seen it then.

    Returns:
        None, the statistics reset, if the model takes no images of this shape in eval mode either.
    """

    def refuse(error: BaseException) -> SourceError:
        return SourceError(
            "The statistics of the model's norms cannot be collected: with its batch norms in "
            f"training mode it fails: {described(error)}{place_in_code(error)}",
            hint="Give a checkpoint with `weights='FILE'`; then none are collected.",
        )

    refusal: SourceError | None = None
    for plan in PLANS:
        images = torch.split(_mixed_images((sum(plan), *input_shape[1:]), generator), list(plan))
        try:
            with guarded(refuse), _collecting(norms):
                for image in images:
                    module(image)
        except SourceError as error:  # of any type; the next plan may do
            refusal = error
            for norm in norms:
                norm.reset_running_stats()
        else:
            return plan
    try:
        with guarded(refuse):
            module(torch.zeros(1, *input_shape[1:]))
    except SourceError:
        return None
    assert refusal is not None  # there are plans
    raise refusal


def _amplification(module: nn.Module, probe: Tensor, nudge: Tensor, singly: bool) -> float:
    """Largest |Δoutput| / |output| over |Δinput| / |input| of the probe images, all norms L2.

    Of several outputs it is the worst element that counts, `WORST_ELEMENT` times: a few of a
    detector's thousands of boxes can be chaotic while the rest are calm.
    """
    images = torch.cat([probe, probe + nudge])
    parts = torch.split(images, 1) if singly else [images]
    outputs = zip(*(flatten_outputs(module(part))[1] for part in parts), strict=True)
    changes = [_change(torch.cat(output).double(), (2.0, math.inf)) for output in outputs]
    if len(changes) == 1:
        relative = changes[0][0]
    else:
        relative = WORST_ELEMENT * max(worst for _, worst in changes)
    return relative / float(nudge.norm() / probe.norm())


def _change(output: Tensor, orders: tuple[float, ...]) -> list[float]:
    """Largest |Δ| / |value| of an image in norms of these orders: (2N, …), images, then nudged.

    0 for an output that is not one value per image.
    """
    if output.shape[0] % 2:
        return [0.0 for _ in orders]
    before, after = output.flatten(1).chunk(2)
    found = []
    for order in orders:
        size = torch.linalg.vector_norm(before, order, dim=1).clamp(min=1e-30)
        change = float((torch.linalg.vector_norm(after - before, order, dim=1) / size).max())
        found.append(change if math.isfinite(change) else math.inf)
    return found


@contextmanager
def _collecting(norms: list[_BatchNorm]) -> Iterator[None]:
    """Batch norms in training mode with cumulative statistics, restored on leaving."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.training = True
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.training = False


def _settle(norm: _BatchNorm, floor: float, generator: torch.Generator) -> None:
    """Raise variances to ``floor`` times their mean, each a little differently."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        norm.reset_running_stats()
    least = floor * float(variance.mean()) or 1.0
    jitter = 1 + 0.1 * torch.empty(variance.shape).normal_(generator=generator).abs()
    variance.copy_(torch.maximum(variance, least * jitter))


def _mixed_images(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Natural images and white noise in turn, so that neither is foreign to the statistics."""
    images = natural_images(shape, generator)
    images[1::2] = torch.empty(images[1::2].shape).normal_(generator=generator)
    return images


def natural_images(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise with about the spectrum of photographs, and channels nearly alike as theirs are.

    Args:
        shape: (N, C, H, W), or (N, C, T, H, W) for clips, which pan by two pixels a frame.

    Returns:
        float32 of that shape with mean 0 and standard deviation 1 per image, as normalised pixels
        have.
    """
    batch, channels, *clip, height, width = shape
    luminance = _octaves((batch, 1, height, width), generator)
    image = luminance + 0.3 * _octaves((batch, channels, height, width), generator)
    mean = image.mean((1, 2, 3), keepdim=True)
    deviation = image.std((1, 2, 3), keepdim=True, correction=0)
    image = (image - mean) / deviation.clamp(min=TINY)
    return torch.stack([image.roll(2 * t, 3) for t in range(*clip)], 2) if clip else image


def _octaves(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Sum of noises of 1, 2, 4, … cells across, each weaker than the coarser one before it."""
    batch, channels, height, width = shape
    total = torch.zeros(shape)
    cells, strength = 1, 1.0
    while cells < 2 * max(height, width):
        size = (batch, channels, min(cells, height), min(cells, width))
        noise = torch.empty(size).normal_(generator=generator)
        total += strength * F.interpolate(noise, size=(height, width), mode="bilinear")
        cells, strength = cells * 2, strength * 0.7
    return total
