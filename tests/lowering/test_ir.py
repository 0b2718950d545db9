"""What a layer graph says of itself."""

from __future__ import annotations

import numpy as np

from mobile_export.lowering import ir


def test_weights_that_stand_there_twice_are_counted_once_too_many() -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = ir.Value("x", (4,))
    layers = tuple(
        ir.Constant(inputs=(), output=ir.Value("c", value.shape), value=value)
        for value in (weight, weight.copy(), weight + 1)
    )
    assert ir.repeated_bytes(ir.LayerGraph((x,), (x,), layers)) == 12 * 4
