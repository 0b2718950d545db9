"""The schemes of quantisation, by the names of precisions: how many bits, and of what."""

from __future__ import annotations

from dataclasses import dataclass

from .ranges import Grid

__all__ = ["SCHEMES", "Scheme"]


@dataclass(frozen=True)
class Scheme:
    """How a model is made integers.

    Weights are symmetric, with one scale for each output channel. Activations have one scale for
    each tensor; those of 8 bits are asymmetric, those of 16 are symmetric, as TFLite's kernels are.

    Attributes:
        weights: bits of a weight.
        activations: bits of an activation; None where they are floating point.
        dynamic: what a layer reads is rounded to 8 bits whose scale is chosen while it runs: one,
            asymmetric, for all that the tensor holds then. Nothing is calibrated.
        palette: weights are indices into a table of values, one for each layer.
        block: as many input channels, at least half, share a scale (`stored_integers.block_of`);
            layers that cannot be cut so have 8 bits and a scale for each output channel.
    """

    weights: int
    activations: int | None = None
    dynamic: bool = False
    palette: bool = False
    block: int | None = None

    @property
    def weight_grid(self) -> Grid:
        """Without the least integer: -127 to 127 for 8 bits."""
        high = 2 ** (self.weights - 1) - 1
        return Grid(-high, high, symmetric=True)

    @property
    def activation_grid(self) -> Grid:
        """-128 to 127 for 8 bits."""
        assert self.activations is not None
        high = 2 ** (self.activations - 1)
        return Grid(-high, high - 1, symmetric=self.activations > 8)


SCHEMES = {
    "int8": Scheme(8, 8),
    "int8-weights": Scheme(8),
    "int16": Scheme(8, 16),
    "int8-dynamic": Scheme(8, dynamic=True),
    "int4-weights": Scheme(4, block=32),
    "palette4": Scheme(4, palette=True),
    "palette6": Scheme(6, palette=True),
    "palette8": Scheme(8, palette=True),
}
"""By the name of the precision."""
