"""Deterministic weights and inputs, so that two implementations of one model can be compared.

`fill_state_dict(shapes)` gives every tensor of a state dict a value that depends only on its
key and shape, with NumPy's frozen legacy generator, so the values never change between versions.

shapes: dict of key -> list of ints (the manifests beside this file).
returns: dict of key -> numpy.ndarray (float32; int64 scalar for num_batches_tracked).
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def _normal(key: str, shape) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def fill_tensor(key: str, shape) -> np.ndarray:
    """Value of one tensor: fan-in scaled weights, norms near one, small biases and means."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.asarray(0, dtype=np.int64)
    noise = _normal(key, shape)
    if leaf == "running_var":
        value = 1.0 + 0.2 * np.abs(noise)
    elif leaf == "running_mean":
        value = 0.1 * noise
    elif len(shape) >= 2:
        value = noise / math.sqrt(max(1, int(np.prod(shape[1:]))))
    elif leaf == "weight":
        value = 1.0 + 0.1 * noise
    else:
        value = 0.1 * noise
    return np.asarray(value, dtype=np.float32)


def fill_state_dict(shapes: dict) -> dict:
    return {key: fill_tensor(key, shape) for key, shape in shapes.items()}


def fill_input(shape=(1, 3, 224, 224)) -> np.ndarray:
    """Input image batch, NCHW float32, standard normal."""
    return _normal("input", shape).astype(np.float32)
