"""WaveMix (arXiv 2205.14375): tokens are mixed by wavelet transforms."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="wavemix_256_16",
        family="WaveMix",
        builder="wavemix.network:wavemix_256_16",
        published=Published(
            source="WaveMix (arXiv 2205.14375), ImageNet's weights of the official code",
            params_m=None,
            macs_m=None,
            top1=73.03,
            code="https://github.com/pranavphoenix/WaveMix",
        ),
        size_step=32,
    ),
)
