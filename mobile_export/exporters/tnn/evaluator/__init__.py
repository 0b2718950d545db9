"""Execute TNN's models on any machine.

TNN comes as C++ source only. This package reads a ``.tnnproto`` and its ``.tnnmodel`` from scratch
and executes the network in PyTorch, layer by layer, with the semantics of TNN's kernels::

    network = load_network(Path("emo_2m.tnnproto"))
    outputs = network.run({"image": image})

It computes in float32, and in integers where a layer is one of integers, by the rules of TNN's
reference device. It does not emulate half precision.

Layout, in the order data passes through:

    proto.py      text → layers
    weights.py    bytes → weights
    table.py      layer type → function
    layers/       the functions
    network.py    bind, run
"""

from __future__ import annotations

from .network import TnnNetwork, load_network

__all__ = ["TnnNetwork", "load_network"]
