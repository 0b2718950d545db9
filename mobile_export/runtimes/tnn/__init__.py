"""Execute TNN's models on any machine.

TNN comes as C++ source only. This package reads a ``.tnnproto`` and its ``.tnnmodel`` from scratch
and executes the network in PyTorch, layer by layer, with the semantics of TNN's kernels::

    network = load_network(Path("emo_2m.tnnproto"))
    outputs = network.run({"image": image})

It computes in float32. It does not emulate a device: no half precision, no int8.

Layout, in the order data passes through:

    _proto.py     text → layers
    _model.py     bytes → weights
    registry.py   layer type → function
    layers/       the functions
    network.py    bind, run
    session.py    what mobile-export asks of a runtime
"""

from __future__ import annotations

from .network import TnnNetwork, load_network
from .session import describe, load

__all__ = ["TnnNetwork", "describe", "load", "load_network"]
