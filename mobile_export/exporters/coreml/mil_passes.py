"""Our own rewrites of the MIL program, run by coremltools between its passes.

Layer norm over the channels of an image is written in PyTorch with a permute before and one behind:
PyTorch's layer norm takes the last axes. MIL's takes any, so

    layer_norm(transpose(x, order), axes=[-1]) = transpose(layer_norm(x, axes=[order[-1]]), order)

and the transpose, now behind the norm, cancels the one that follows.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...graph.stored_integers import cut
from ...system.coreml_private import add_graph_pass, builder, integer_type

__all__ = ["add_our_passes", "store_blocks", "store_palettes"]

_BEHIND = "common::expand_high_rank_reshape_and_transpose"


def add_our_passes(pipeline: Any) -> None:
    """Put the rewrite behind the pass that looks for windows, in front of one that cancels."""
    add_graph_pass(pipeline, "norm_over_channels", _norms_over_channels, behind=_BEHIND)


def store_palettes(pipeline: Any, bits: int) -> None:
    """Store weights of convolutions and linear layers that have at most 2^``bits`` values as
    indices into a table of them, behind all other passes."""
    apply = functools.partial(_look_up_weights, bits=bits)
    name = f"look_up_weights_{bits}"
    add_graph_pass(pipeline, name, apply, behind=pipeline.passes[-1])


_LAYERS = {"conv": "weight", "conv_transpose": "weight", "linear": "weight", "matmul": "y"}


def _look_up_weights(block: Any, bits: int) -> None:
    """The same numbers, in fewer bits: nothing is rounded here."""
    mb = builder()
    weights = [getattr(op, _LAYERS[op.op_type]) for op in block.operations if op.op_type in _LAYERS]
    for op in dict.fromkeys(each.op for each in weights if each.op is not None):
        if op.op_type != "const" or op.val.val.size <= 2**bits:
            continue
        values, indices = np.unique(op.val.val, return_inverse=True)
        if values.size > 2**bits:
            continue
        table = np.concatenate((values, np.full(2**bits - values.size, values[-1])))
        (old,) = op.outputs
        with block:
            new = mb.constexpr_lut_to_dense(
                indices=_packed(indices.reshape(-1), bits),
                lut=table.astype(values.dtype),
                shape=np.asarray(op.val.val.shape, np.uint32),
                before_op=op,
                name=f"{op.name}_looked_up",
            )
        block.replace_uses_of_var_after_op(anchor_op=op, old_var=old, new_var=new)
        block.remove_ops([op])


def store_blocks(pipeline: Any, bits: int, block: int) -> None:
    """Store weights that integers in blocks stand for exactly as these, behind all other passes;
    those that integers of 8 bits with a scale for each output channel stand for, as these."""
    apply = functools.partial(_cut_weights, bits=bits, block=block)
    add_graph_pass(pipeline, f"cut_weights_{bits}_{block}", apply, behind=pipeline.passes[-1])


def _cut_weights(function: Any, bits: int, block: int) -> None:
    """The same numbers, in fewer bits: nothing is rounded here."""
    mb = builder()
    named = {"conv", "linear"}
    weights = [op.weight for op in function.operations if op.op_type in named]
    for op in dict.fromkeys(each.op for each in weights if each.op is not None):
        if op.op_type != "const" or op.val.val.dtype != np.float32:
            continue
        values = op.val.val
        found = cut(values, block, bits)
        if found is None:
            continue
        integers, scales, width = found
        (old,) = op.outputs
        with function:
            new = mb.constexpr_blockwise_shift_scale(
                data=integers.astype(integer_type(width)),
                scale=scales.reshape(*scales.shape, *[1] * (values.ndim - 2)),
                before_op=op,
                name=f"{op.name}_widened",
            )
        function.replace_uses_of_var_after_op(anchor_op=op, old_var=old, new_var=new)
        function.remove_ops([op])


def _packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """Bits of whole numbers behind each other, each beginning with the least (MIL reference)."""
    each = (indices[:, None] >> np.arange(bits)) & 1
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")


def _norms_over_channels(block: Any) -> None:
    """Norms take the axis that the transpose before them brings to the end."""
    mb = builder()
    for op in list(block.operations):
        if op.op_type != "layer_norm" or op.x.op is None or op.x.op.op_type != "transpose":
            continue
        order = [int(axis) for axis in op.x.op.perm.val]
        axes = [int(axis) % len(order) for axis in op.axes.val]
        followed = any(user.op_type == "transpose" for user in op.outputs[0].child_ops)
        if axes != [len(order) - 1] or not followed or op.outputs[0] in block.outputs:
            continue
        with block:
            normed = mb.layer_norm(
                x=op.x.op.x,
                axes=[order[-1]],
                gamma=op.gamma,
                beta=op.beta,
                epsilon=op.epsilon,
                before_op=op,
            )
            moved = mb.transpose(x=normed, perm=order, before_op=op, name=op.name)
        block.replace_uses_of_var_after_op(
            anchor_op=op, old_var=op.outputs[0], new_var=moved, force_replace=True
        )
        block.remove_ops([op])
