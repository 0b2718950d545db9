"""Our own rewrite of the MIL program, run by coremltools between its passes.

Layer norm over the channels of an image is written in PyTorch with a permute before and one behind:
PyTorch's layer norm takes the last axes. MIL's takes any, so

    layer_norm(transpose(x, order), axes=[-1]) = transpose(layer_norm(x, axes=[order[-1]]), order)

and the transpose, now behind the norm, cancels the one that follows.
"""

from __future__ import annotations

from typing import Any

__all__ = ["add_our_passes"]

_NAME = "mobile_export::norm_over_channels"
_AFTER = "common::expand_high_rank_reshape_and_transpose"


def add_our_passes(pipeline: Any) -> None:
    """Put the rewrite behind the pass that looks for windows, in front of one that cancels."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if _NAME not in PASS_REGISTRY:

        class norm_over_channels(AbstractGraphPass):  # type: ignore[misc]
            """Norms take the axis that the transpose before them brings to the end."""

            def apply(self, prog: Any) -> None:
                for function in prog.functions.values():
                    _norms_over_channels(function)

        register_pass(namespace="mobile_export")(norm_over_channels)
    pipeline.insert_pass(pipeline.passes.index(_AFTER) + 1, _NAME)


def _norms_over_channels(block: Any) -> None:
    from coremltools.converters.mil import Builder as mb

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
