"""Capture a model as a `Program`: the only place where its Python code runs for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import SourceError, TraceError, UsageError
from .contexts import inline_contexts
from .indices import highest_index
from .kept_results import fresh_caches
from .program import Program
from .specs import CONVERTED, InputSpec, OutputSpec, Task
from .user_code import described, guarded, place_in_code
from .writes import memory_of, writes_to, written_buffers

if TYPE_CHECKING:
    from .source import Source

__all__ = ["flatten_outputs", "named_outputs", "trace"]

MAX_ITEMS = 10_000
"""Of everything that a model returns, containers included"""

_NO_CONTAINERS = (str, bytes, bytearray, memoryview, range)


class _TupleOutputs(torch.nn.Module):
    """Gives a module that returns a dict, a list or duplicates a flat tuple of distinct tensors."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return flatten_outputs(self.module(image, *others))[1]


def flatten_outputs(result: Any) -> tuple[tuple[str, ...], tuple[torch.Tensor, ...]]:
    """Names and tensors of whatever a model returns.

    A tensor is called ``logits``; the values of a mapping keep their keys, those of a dataclass and
    of a named tuple the names of their fields; the items of other sequences are ``output_0``,
    ``output_1``, …; nesting joins names with an underscore. Tensors that are one and the same
    object are given once; what is not a tensor is left out.

    Raises:
        SourceError: a container holds itself, or more than `MAX_ITEMS` items.
    """
    found: dict[int, tuple[str, torch.Tensor]] = {}
    inside: set[int] = set()
    count = 0

    def visit(value: Any, name: str) -> None:
        nonlocal count
        count += 1
        if isinstance(value, torch.Tensor):
            found.setdefault(id(value), (name or "logits", value))
            return
        items = _items(value, name)
        if items is None:
            return
        length, named = items
        if id(value) in inside or count + length > MAX_ITEMS:
            what = "that holds itself" if id(value) in inside else f"of more than {MAX_ITEMS} items"
            raise SourceError(
                f"The model returns a {type(value).__name__} {what}.",
                hint="An exportable model returns a tensor, or a tuple, list or dict of tensors.",
            )
        inside.add(id(value))
        for label, item in named:
            visit(item, label)
        inside.remove(id(value))

    visit(result, "")
    flat = list(found.values())
    if len(flat) == 1 and not isinstance(_fields(result), Mapping):
        flat = [("logits", flat[0][1])]
    return tuple(name for name, _ in flat), tuple(tensor for _, tensor in flat)


def _items(value: Any, name: str) -> tuple[int, Iterator[tuple[str, Any]]] | None:
    """How many items a container has, and these with their names; None for anything else."""
    value = _fields(value)
    if isinstance(value, Mapping):
        named = ((f"{name}_{key}" if name else str(key), item) for key, item in value.items())
        return len(value), named
    if isinstance(value, Sequence) and not isinstance(value, _NO_CONTAINERS):
        return len(value), (
            (f"{name or 'output'}_{index}", item) for index, item in enumerate(value)
        )
    return None


def _fields(value: Any) -> Any:
    """What a dataclass or a named tuple holds, by the names of the fields; anything else as it is.

    ModelOutput of transformers is a mapping already.
    """
    if isinstance(value, type | Mapping):
        return value
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return value


def trace(source: Source) -> Program:
    """Capture ``source.module`` as a `Program`.

    Raises:
        SourceError: the module itself fails on inputs of the shapes of ``source.inputs``; or it
            computes nothing from one of them.
        TraceError: the module runs, but torch.export cannot capture it as one static graph.
    """
    inputs = source.examples
    result, names, tensors = _call_once(source, inputs)
    if not tensors:
        raise SourceError(
            f"{source.spec} returned no tensor.",
            hint="An exportable model returns a tensor, or a tuple, list or dict of tensors.",
        )
    raw = _raw_names(source, names)
    meanings = [source.meanings.get(name) for name in raw]
    names = _file_names(source, raw)
    for name, tensor in zip(names, tensors, strict=True):
        _check_output(source.spec, name, tensor)
    outputs = tuple(
        OutputSpec(name, tuple(tensor.shape), meaning)
        for name, tensor, meaning in zip(names, tensors, meanings, strict=True)
    )
    exported = source.exported or _export(source, inputs, flat=isinstance(result, torch.Tensor))
    _refuse_dynamic(exported, source.spec)
    _refuse_constant(exported, source.spec)
    _refuse_unread(exported, source)
    ranged = _ranged(exported, source)
    labels, task = _labels(source, outputs), source.task
    if task is None and labels is not None:
        task, outputs = _task_of_labels(outputs, tensors)
    return Program(
        exported=inline_contexts(exported, source.spec),
        spec=source.spec,
        input=ranged[0],
        others=ranged[1:],
        outputs=outputs,
        labels=labels,
        weights=source.weights,
        notes=(*source.weights.notes, *_notes_of_state(exported)),
        task=task,
        recipe=source.recipe,
        asked=source.asked,
        suppression=source.suppression,
    )


def _notes_of_state(exported: torch.export.ExportedProgram) -> tuple[str, ...]:
    """What is said of a model that writes to what it stores."""
    names = written_buffers(exported)
    if not names:
        return ()
    return (
        f"Its forward changes {', '.join(names[:8])}; a file begins every call with the values "
        "that are there now.",
    )


def named_outputs(source: Source, result: Any) -> tuple[tuple[str, ...], tuple[torch.Tensor, ...]]:
    """The tensors that a source's module returned, with their names in a file."""
    names, tensors = flatten_outputs(result)
    return _file_names(source, _raw_names(source, names)), tensors


def _raw_names(source: Source, names: tuple[str, ...]) -> tuple[str, ...]:
    """The source's own names where it has as many."""
    own = source.output_names
    return own if own is not None and len(own) == len(names) else names


def _file_names(source: Source, names: Sequence[str]) -> tuple[str, ...]:
    """All different, and none that of an input."""
    taken = [each.name for each in source.inputs]
    return _distinct([_identifier(name) for name in names], taken)


def _check_output(spec: str, name: str, tensor: torch.Tensor) -> None:
    """Refuse outputs that no file can hold."""
    shape = "several shapes" if tensor.is_nested else f"shape {tuple(tensor.shape)}"
    wrong = {
        "it is a nested tensor": tensor.is_nested,
        "it has no elements": not tensor.is_nested and 0 in tensor.shape,
        "it is on the meta device and has no values": tensor.is_meta,
        "it is sparse": tensor.layout is not torch.strided,
        "it is quantised": tensor.is_quantized,
        "it is complex": tensor.is_complex(),
    }
    for reason, is_so in wrong.items():
        if is_so:
            raise SourceError(
                f"{spec} returns {name} of {shape}: {reason}.",
                hint="Return dense real tensors that hold something. In a file their shapes do not "
                "depend on what is in the image: no nonzero, no x[mask].",
            )


def _refuse_constant(exported: torch.export.ExportedProgram, spec: str) -> None:
    """Refuse models that compute nothing: every output is an input, or what is stored or made of
    that. Beside one that is computed, formats write these, too."""
    images = set(exported.graph_signature.user_inputs)
    memory = memory_of(exported.graph)
    reached = {
        node for node in exported.graph.nodes if node.op == "placeholder" and node.name in images
    }
    computed = set()
    written: set[torch.fx.Node] = set()  # tensors that hold what is computed from the image
    for node in exported.graph.nodes:
        operands = node.all_input_nodes
        if node.op == "call_function" and any(
            each in reached or memory[each] in written for each in operands
        ):
            reached.add(node)
            computed.add(node)
            written.update(memory[each] for each in operands if writes_to(node, each))
    computed.update(node for node, place in memory.items() if place in written)
    if {node.name for node in computed}.isdisjoint(map(str, exported.graph_signature.user_outputs)):
        raise SourceError(
            f"{spec} computes nothing from its image: it returns the image or what it stores.",
            hint="Return tensors that the model computes from the image, or choose others with "
            "`outputs`.",
        )


def _labels(source: Source, outputs: Sequence[OutputSpec]) -> tuple[str, ...] | None:
    """The source's labels, if there is one for each class of a single output of logits.

    Logits are (1, classes) or (1, classes, height, width); of other outputs nothing is known.

    Raises:
        UsageError: the user's labels are too few or too many; ImageNet's, which sources give to any
            1000 classes, are left out then.
    """
    shape = outputs[0].shape
    known = len(outputs) == 1 and len(shape) in (2, 4)
    if source.labels is None or not known or len(source.labels) == shape[1]:
        return source.labels
    if not source.labels_given:
        return None
    raise UsageError(
        f"{len(source.labels)} labels do not fit the {shape[1]} classes of {source.spec}.",
        hint="Give a text file with one label a line, in the order of the logits.",
    )


def _task_of_labels(
    outputs: tuple[OutputSpec, ...], tensors: Sequence[torch.Tensor]
) -> tuple[Task | None, tuple[OutputSpec, ...]]:
    """What a model is for that has class names and says no more, and its outputs with meanings.

    One row of numbers are a classifier's, one row for each pixel a segmenter's. Numbers of which
    some are not between 0 and 1 are logits; those that sum to 1 probabilities.
    """
    if len(outputs) != 1 or len(outputs[0].shape) not in (2, 4):
        return None, outputs
    task: Task = "classification" if len(outputs[0].shape) == 2 else "segmentation"
    values, meaning = tensors[0].double(), outputs[0].meaning
    if not ((values >= 0) & (values <= 1)).all():
        meaning = meaning or "logits"
    elif torch.allclose(values.sum(1), torch.ones(()).double(), atol=1e-5):
        meaning = meaning or "probabilities"
    return task, (replace(outputs[0], meaning=meaning),)


def _refuse_unread(exported: torch.export.ExportedProgram, source: Source) -> None:
    """Refuse inputs that no output is computed from: no file would have them."""
    graph = exported.graph
    read = {graph.output_node()}
    for node in reversed(graph.nodes):
        if node in read or any(writes_to(node, each) for each in node.all_input_nodes):
            read.update(node.all_input_nodes)
    nodes = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    unread = [
        spec.name
        for name, spec in zip(exported.graph_signature.user_inputs, source.inputs, strict=True)
        if nodes[str(name)] not in read
    ]
    if unread:
        raise SourceError(
            f"{source.spec} computes nothing from its input {', '.join(unread)}.",
            hint="Leave it out of the inputs; where forward asks for it, give it a default there, "
            f"as {unread[0]}=None.",
        )


def _ranged(exported: torch.export.ExportedProgram, source: Source) -> tuple[InputSpec, ...]:
    """The inputs; of indices with the largest number that the graph takes, or the user gave."""
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    found = []
    user_inputs = exported.graph_signature.user_inputs
    given = source.example or (None,) * len(source.inputs)
    for name, spec, value in zip(user_inputs, source.inputs, given, strict=True):
        highest = spec.highest
        if spec.role == "indices" and highest is None:
            highest = highest_index(nodes[str(name)])
            if highest is None and value is not None and value.numel():
                highest = max(int(value.max()), 1)
        found.append(replace(spec, highest=highest))
    return tuple(found)


def _distinct(names: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """``names`` with a number behind each that another one or one of ``taken`` is already."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 2
        while (
            candidate in taken or candidate in found or (candidate != name and candidate in names)
        ):
            candidate, number = f"{name}_{number}", number + 1
        found.append(candidate)
    return tuple(found)


def _identifier(name: str) -> str:
    """``name`` with everything that a Core ML feature name cannot hold replaced."""
    clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    return clean if clean[:1].isalpha() else f"output_{clean}"


def _call_once(
    source: Source, inputs: tuple[torch.Tensor, ...]
) -> tuple[Any, tuple[str, ...], tuple[torch.Tensor, ...]]:
    """What the model returns for these inputs, and the names and tensors in it."""

    def refuse(error: BaseException) -> SourceError:
        shapes = f"an input of shape {tuple(inputs[0].shape)}"
        if len(inputs) > 1:
            shapes = f"inputs of {', '.join(map(str, source.inputs))}"
        hint = "Are these the shapes and dtypes that it takes? See `input`."
        if len(inputs) == 1 and source.input.role == "image":
            height, width = source.input.size
            hint = (
                f"Is {height}x{width} a size that it takes? Try another with `size`, "
                "another number of input channels with `channels`."
            )
            if source.input.shape[0] > 1:
                hint = "Does its code take one image only? Try without `batch`. " + hint
        converted = [note for note in source.weights.notes if note.startswith(CONVERTED)]
        if converted:
            hint = (
                f"{converted[0]} Does its forward ask for another type (`.half()`, `.double()`)? "
                + hint
            )
        return SourceError(
            f"{source.spec} fails on {shapes}: {described(error)}{place_in_code(error)}", hint=hint
        )

    with guarded(refuse), torch.no_grad():
        result = source.module(*[each.clone() for each in inputs])  # which it may write to
        names, tensors = flatten_outputs(result)
    return result, names, tensors


def _export(
    source: Source, inputs: tuple[torch.Tensor, ...], *, flat: bool
) -> torch.export.ExportedProgram:
    target = source.module if flat else _TupleOutputs(source.module)

    def refuse(error: BaseException) -> TraceError:
        reason = described(error)
        hint = "Run torch.export.export(model, (example,)) by itself to see torch's full report."
        if _depends_on_values(error):
            reason = "its control flow depends on the values of a tensor"
            hint = (
                "A phone file is one static graph. Replace the `if` or loop on tensor values by "
                "torch.where or arithmetic, then try again."
            )
            if "nms" in place_in_code(error):
                reason = "it suppresses boxes: how many are left depends on the picture"
                hint = _OF_SUPPRESSION
        elif ".numpy()" in reason:
            hint = "A file holds what PyTorch computes: write in torch what forward does in NumPy."
        return TraceError(
            f"torch.export cannot capture {source.spec}: {reason}{place_in_code(error)}", hint=hint
        )

    with guarded(refuse), torch.no_grad(), fresh_caches(source.module):
        return torch.export.export(target, inputs, strict=False)


_OF_SUPPRESSION = (
    "Return the boxes (1, N, 4) and the scores (1, N, classes) of all places, and give `nms`: it "
    "ends the file with the suppression. A detector of torchvision does so where it is the module "
    "that is exported itself."
)


def _depends_on_values(error: BaseException) -> bool:
    text = "" if isinstance(error, SystemExit) else described(error)
    return "data-dependent" in text or "DataDependent" in type(error).__name__


def _refuse_dynamic(exported: torch.export.ExportedProgram, spec: str) -> None:
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and any(not isinstance(n, int) for n in value.shape):
            trace_of_user: str = node.meta.get("stack_trace") or ""
            lines = [line.strip() for line in trace_of_user.splitlines() if line.strip()]
            where = f" ({lines[-1]})" if lines else ""
            raise TraceError(
                f"The shape of a tensor in {spec} depends on the values of a tensor: "
                f"{node.name}{where}.",
                hint=_OF_SUPPRESSION
                if "nms" in str(node.target)
                else "A phone file has static shapes. Replace x[mask], nonzero and unique by "
                "torch.where or a product with the mask, and give sizes and indices as Python "
                "numbers: tensor_split(x, (1, 3)).",
            )
