"""What an app does before and behind a model, inside the program instead.

An app brings pixels to what the network takes, (pixel / 255 - mean) / std, turns logits into
probabilities, and has pixels as bytes. Each function here gives a program that does one of these
itself. They run before the passes (`with_normalization`, `with_probabilities`), so that the passes
fold what can be folded exactly: `passes.fold_scales` takes the factor 1 / (255 std) into the first
convolution, and the offset into its bias where it pads nothing. Where it pads with zeros, one
subtraction per channel stays: the padding stands for the mean, and would not otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from .editor import GraphEditor

if TYPE_CHECKING:
    from .program import Program

__all__ = ["with_bytes", "with_input_dtypes", "with_normalization", "with_probabilities"]

_ATEN = torch.ops.aten
_BRIGHTEST = 255.0


def with_normalization(program: Program) -> Program:
    """``program`` for pixels from 0 to 255; its input is called `specs.PIXELS`.

    With mean m and standard deviation s of pixels scaled to [0, 1], per channel, the image is
    (x - 255 m) · 1 / (255 s).
    """
    graph, spec = GraphEditor(program), program.input
    channels = (1, -1, *[1] * (len(spec.shape) - 2))
    mean, std = (torch.tensor(v, dtype=torch.float64).view(channels) for v in (spec.mean, spec.std))
    users = list(graph.input.users)
    first = next(node for node in graph.nodes if node in users)
    image = graph.input
    if mean.any():
        shift = graph.add_constant(mean * _BRIGHTEST, "pixel_mean")
        image = graph.call(_ATEN.sub.Tensor, image, shift, like=first)
    scale = graph.add_constant(1.0 / (std * _BRIGHTEST), "pixel_scale")
    image = graph.call(_ATEN.mul.Tensor, image, scale, like=first)
    _give(graph, graph.input, image, users)
    graph.changed(image, "pixels are normalised")
    return replace(graph.result().program, input=spec.as_pixels())


def with_probabilities(program: Program) -> Program:
    """``program`` with a softmax over the last axis of its one output, the logits.

    The output is called `specs.PROBABILITIES`.
    """
    graph = GraphEditor(program)
    end = graph.fx.output_node()
    (logits,) = (node for node in end.all_input_nodes if graph.is_output(node))
    made = graph.call(_ATEN.softmax.int, logits, -1, like=logits, before=end)
    _give(graph, logits, made, [end])
    graph.changed(made, "softmax of the logits")
    (output,) = program.outputs
    named = output.as_probabilities()
    return replace(graph.result().program, outputs=(named,), activation="softmax")


def with_bytes(program: Program) -> Program:
    """``program``, which takes pixels, for pixels as uint8."""
    graph = GraphEditor(program)
    users = list(graph.input.users)
    first = next(node for node in graph.nodes if node in users)
    value = graph.input.meta["val"]
    with value.fake_mode:
        graph.input.meta["val"] = torch.empty(value.shape, dtype=torch.uint8)
    wide = graph.call(
        _ATEN._to_copy.default, graph.input, like=first, kwargs={"dtype": torch.float32}
    )
    _give(graph, graph.input, wide, users)
    graph.changed(wide, "pixels are bytes")
    made = replace(graph.result().program, input=replace(program.input, dtype="uint8"))
    made.exported.example_inputs = ((made.example,), {})
    return made


def with_input_dtypes(program: Program, dtypes: Mapping[str, str]) -> Program:
    """``program`` whose inputs have other dtypes, in front of a conversion to the model's own.

    Args:
        dtypes: what an input of each dtype becomes; of others nothing changes.
    """
    graph, specs = GraphEditor(program), list(program.inputs)
    for index, (node, spec) in enumerate(zip(graph.inputs, program.inputs, strict=True)):
        if spec.dtype not in dtypes:
            continue
        users = list(node.users)
        first = next(each for each in graph.nodes if each in users)
        value = node.meta["val"]
        with value.fake_mode:
            node.meta["val"] = torch.empty(value.shape, dtype=getattr(torch, dtypes[spec.dtype]))
        if spec.dtype == "bool":
            own = graph.call(_ATEN.ne.Scalar, node, 0, like=first)
        else:
            kwargs = {"dtype": value.dtype}
            own = graph.call(_ATEN._to_copy.default, node, like=first, kwargs=kwargs)
        _give(graph, node, own, users)
        graph.changed(own, f"{spec.name} is {dtypes[spec.dtype]}")
        specs[index] = replace(spec, dtype=dtypes[spec.dtype])
    made = replace(graph.result().program, input=specs[0], others=tuple(specs[1:]))
    if made.inputs != program.inputs:
        made.exported.example_inputs = (made.examples, {})
    return made


def _give(graph: GraphEditor, old: Node, new: Node, users: list[Node]) -> None:
    """Let ``users`` use ``new`` for ``old``."""
    for user in users:
        user.replace_input_with(old, new)
