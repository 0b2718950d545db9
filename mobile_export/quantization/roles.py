"""What each operator is to a plan: which of its tensors are integers, and which share a scale.

    layer      a product with stored weights: int8 per output channel; its sums are int32
    product    of two computed matrices
    computed   its inputs and its output are integers, each with a scale of its own
    averaging  it computes means of neighbours: the output has the scale of the input, as TFLite's
               8-bit quantization specification wants of average pools and of bilinear resizing
    sharing    it moves or chooses values: the output has the scale of the input
    joining    it puts several tensors beside each other: all have one scale
    choosing   it takes each element from one of its operands: all have one scale, as TFLite's
               kernels of MAXIMUM and MINIMUM want

Any other operator is computed in floating point, between integers where its neighbours have them.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["ACTIVATIONS", "FIXED", "ONE_SCALE", "ROLES", "Role", "why_floating"]

Role = Literal["layer", "product", "computed", "averaging", "sharing", "joining", "choosing"]

_NAMES: dict[Role, str] = {
    "layer": """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear
    """,
    "product": "matmul bmm",
    "computed": """
        _adaptive_avg_pool2d adaptive_avg_pool2d add clamp clamp_max clamp_min elu gelu hardsigmoid
        hardswish hardtanh leaky_relu mean mul relu relu6 sigmoid silu softmax sub sum tanh
    """,
    "averaging": "avg_pool1d avg_pool2d upsample_bilinear2d",
    "sharing": """
        constant_pad_nd expand flip getitem index_select max_pool1d max_pool2d pad permute
        pixel_shuffle pixel_unshuffle repeat reshape roll select slice split split_with_sizes
        squeeze transpose unbind unsqueeze upsample_nearest2d view
    """,
    "joining": "cat stack",
    "choosing": "maximum minimum",
}

ROLES: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split()}
"""By the name of the operator, without overload."""

ONE_SCALE: frozenset[Role] = frozenset(("averaging", "sharing", "joining", "choosing"))
"""Roles in which the output has the scale of what is read."""

ACTIVATIONS = frozenset(("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"))
"""Computed with the sums of the layer or the addition before them, which then have no scale of
their own."""

FIXED: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
"""Range of an output that is known: TFLite's int8 specification gives sigmoid and softmax the scale
1/256 and the zero point -128, tanh the scale 1/128 and 0."""

_WHY = {
    "layer_norm": "the mean and the variance of a norm need more than 8 bits",
    "group_norm": "the mean and the variance of a norm need more than 8 bits",
    "instance_norm": "the mean and the variance of a norm need more than 8 bits",
    "batch_norm": "it was not folded into a layer",
}


def why_floating(name: str) -> str:
    """Why an operator is computed in floating point."""
    return _WHY.get(name, "no integer kernel is known for it")
