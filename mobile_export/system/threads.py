"""The number of threads that PyTorch computes with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread meanwhile.

    Results then do not depend on the number of cores. It is also faster where it matters: PyTorch's
    float64 depthwise convolution makes thousands of tiny parallel regions, and on a busy machine
    their barriers cost a hundred times the arithmetic (EMO-2M: 0.15 s on one thread, up to 30 s on
    two oversubscribed ones).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
