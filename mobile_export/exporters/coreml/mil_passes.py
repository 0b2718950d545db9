"""Our own rewrite of the MIL program, run by coremltools between its passes.

Layer norm over the channels of an image is written in PyTorch with a permute before and one behind:
PyTorch's layer norm takes the last axes. MIL's takes any, so

    layer_norm(transpose(x, order), axes=[-1]) = transpose(layer_norm(x, axes=[order[-1]]), order)

and the transpose, now behind the norm, cancels the one that follows.
"""

from __future__ import annotations

from typing import Any

from ...system.coreml_private import add_graph_pass, builder

__all__ = ["add_our_passes"]

_BEHIND = "common::expand_high_rank_reshape_and_transpose"


def add_our_passes(pipeline: Any) -> None:
    """Put the rewrite behind the pass that looks for windows, in front of one that cancels."""
    add_graph_pass(pipeline, "norm_over_channels", _norms_over_channels, behind=_BEHIND)


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
