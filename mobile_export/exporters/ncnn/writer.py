"""ncnn: two files, written by us from the layer graph that ncnn and TNN share.

`rules`, `compute` and `movement` turn each layer into layers of ncnn, `fp16` finds those that a
phone must compute in float32, `files` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...lowering import ir
from ..interface import Adapted, Prepared, WriteJob
from . import compute, movement, tables  # noqa: F401 (compute registers its rules)
from .files import FEATURE_MASK, NcnnLayer, NcnnModel, Param, with_splits
from .fp16 import float32_masks, with_conversions
from .integers import with_handed_on
from .rules import emit, reshape_to
from .sizes import for_all_sizes
from .winograd import direct_masks

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["build", "adapt", "check", "signature_of", "write", "write_sizes"]


def check(program: Program, job: WriteJob) -> None:
    """Every program is fine; `write` refuses what the layers lack before it writes."""


def adapt(program: Program, job: WriteJob) -> Adapted:
    """``program`` as it is: the converter takes all of it."""
    return Adapted(program)


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a layer graph to ``path`` (the text) and beside it to ``.bin`` (the weights).

    Raises:
        LoweringError: an op that the layer graph or ncnn does not have.
    """
    graph, masks = _planned(prepared, job)
    build(graph, masks).write(path, path.with_suffix(".bin"), half=job.precision.bits == 16)


def write_sizes(prepared: Sequence[Prepared], path: Path, job: WriteJob) -> None:
    """The same for one model at several sizes: one list of layers, which takes others, too.

    Raises:
        LoweringError: also where its layers depend on the size.
    """
    planned = [_planned(each, job, widths_vary=True) for each in prepared]
    masks: dict[str, int] = {}
    for _, found in planned:
        for name, mask in found.items():
            masks[name] = masks.get(name, 0) | mask
    graphs = [graph for graph, _ in planned]
    layers = for_all_sizes(
        [_layers(graph, masks) for graph in graphs],
        [{value.name: value.shape for value in _values(graph)} for graph in graphs],
        ["x".join(map(str, each.program.input.size)) for each in prepared],
    )
    model = _wired(layers, graphs[0])
    model.write(path, path.with_suffix(".bin"), half=job.precision.bits == 16)


def signature_of(index: int, size: tuple[int, int]) -> str | None:
    """None: one list of layers takes all sizes."""
    return None


def _values(graph: ir.LayerGraph) -> list[ir.Value]:
    return [*graph.inputs, *(layer.output for layer in graph.layers)]


def _planned(
    prepared: Prepared, job: WriteJob, *, widths_vary: bool = False
) -> tuple[ir.LayerGraph, dict[str, int]]:
    """The layers that are written, and which of ncnn's features are off in them."""
    from ...lowering.simplify import fuse_activations, unfold_as_convolutions
    from ...parity.samples import parity_samples, pixel_samples

    assert prepared.layers is not None
    graph = fuse_activations(unfold_as_convolutions(prepared.layers), tables.FUSED_ACTIVATIONS)
    specs = prepared.program.inputs
    pixels = specs[0].pixels
    noise, _, natural, _ = pixel_samples(specs[0]) if pixels else parity_samples(*specs)
    given = [
        [tensor.numpy() for tensor in each.all_given(pixels=pixels)] for each in (noise, natural)
    ]
    masks = float32_masks(graph, given, widths_vary=widths_vary)
    if job.direct:
        for name, mask in direct_masks(graph).items():
            masks[name] = masks.get(name, 0) | mask
    return graph, masks


def build(graph: ir.LayerGraph, masks: Mapping[str, int] | None = None) -> NcnnModel:
    """The ncnn model of a layer graph.

    Args:
        masks: features to switch off, by name of a layer's output (`fp16.float32_masks`).

    Raises:
        LoweringError: ncnn has no layer for one of the graph's.
    """
    return _wired(_layers(graph, masks or {}), graph)


def _layers(graph: ir.LayerGraph, masks: Mapping[str, int]) -> list[NcnnLayer]:
    """The layers of a graph in order; a blob may have any number of takers.

    Raises:
        LoweringError: ncnn has no layer for one of the graph's.
    """
    layers = [_input(value) for value in graph.inputs]
    partitions = _partitions(graph)
    for layer in graph.layers:
        if layer not in partitions:
            made = emit(layer)
        else:
            made = [movement.slice_together(partitions[layer])] if partitions[layer] else []
        mask = masks.get(layer.name)
        layers += made if mask is None else [_masked(each, mask) for each in made]
    return layers


def _wired(layers: Sequence[NcnnLayer], graph: ir.LayerGraph) -> NcnnModel:
    """The model of layers, whose outputs are those of ``graph``."""
    names = graph.output_names or tuple(value.name for value in graph.outputs)
    outputs = [(name, value.name) for name, value in zip(names, graph.outputs, strict=True)]
    layers = with_handed_on(layers, {blob for _, blob in outputs})
    return with_splits(with_conversions(_with_own_inputs(layers)), outputs)


_COPYING = {"Convolution", "ConvolutionDepthWise", "Deconvolution", "InnerProduct", "Slice"}
"""Layers that never give their input on, nor write in its place."""

_DEPTH = 11
"""The parameter of an ``Input`` that only one of four axes has."""


def _with_own_inputs(layers: Sequence[NcnnLayer]) -> list[NcnnLayer]:
    """With a copy of an input that some layer may write to: a 1x1 max pooling.

    ncnn asks for the reference count of what it writes to; that of a ``Mat`` around an array of the
    caller (``ncnn.Mat(array)`` in Python) is a null pointer, and ncnn crashes.
    """
    made: list[NcnnLayer] = []
    copied: dict[str, str] = {}
    for layer in layers:
        made.append(replace(layer, inputs=tuple(copied.get(b, b) for b in layer.inputs)))
        if layer.type == "Input":
            (blob,) = layer.outputs
            if not all(user.type in _COPYING for user in layers if blob in user.inputs):
                copied[blob] = f"{blob}:copy"
                kind = "Pooling3D" if _DEPTH in layer.params else "Pooling"
                size: dict[int, Param] = {1: 1}  # of the kernel
                made.append(NcnnLayer(kind, f"copy/{blob}", (blob,), (copied[blob],), size))
    return made


def _masked(layer: NcnnLayer, mask: int) -> NcnnLayer:
    return replace(layer, params={**layer.params, FEATURE_MASK: mask})


def _input(value: ir.Value) -> NcnnLayer:
    _, extent = reshape_to(value.shape)
    return NcnnLayer("Input", value.name, (), (value.name,), extent)


def _partitions(graph: ir.LayerGraph) -> dict[ir.Layer, list[ir.Slice]]:
    """Slices that together are the whole of one axis of one value, in order of position.

    Returns:
        the first of them in order of execution -> all; each of the others -> nothing.
    """
    families: dict[tuple[ir.Value, int], list[ir.Slice]] = {}
    for layer in graph.layers:
        if isinstance(layer, ir.Slice) and layer.step == 1:
            families.setdefault((layer.input, layer.axis), []).append(layer)
    found: dict[ir.Layer, list[ir.Slice]] = {}
    for (value, axis), family in families.items():
        ordered = sorted(family, key=lambda part: part.start)
        starts = [part.start for part in ordered] + [value.shape[axis]]
        if len(family) > 1 and starts == [0] + [part.stop for part in ordered]:
            found |= {part: [] for part in family} | {family[0]: ordered}
    return found
