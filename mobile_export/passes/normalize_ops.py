"""Bring the captured graph to one small functional vocabulary: one spelling for later passes.

torch.export leaves what the author wrote: in-place ops, dropout, five ways to reshape. Afterwards

* nothing is written in place, and what copies, aliases or asserts is gone;
* ``view``, ``flatten``, ``squeeze``, … are ``reshape`` to a static shape, ``transpose``, ``t``,
  ``movedim``, … are ``permute``, ``expand_as`` is ``expand``; axes are not negative;
* pooling to 1x1 is ``mean``; adaptive pooling to a divisor of the size is ``avg_pool2d``;
* a max pool says its stride;
* decomposed ``convolution``, ``addmm``, ``_softmax``, ``native_layer_norm``, eval-mode
  ``_native_batch_norm_legit…`` are ``conv2d``, ``linear``, ``softmax``, … again;
* an ``einsum`` of two is ``matmul``, with a stored matrix ``linear``; ``x[0], x[1]``: ``unbind``.

Convolution, linear, batch norm, layer norm, gelu, silu, softmax and attention stay whole. All three
vendors' converters know them, and their decompositions are what makes files slow (layer norm as
nine ops) and algebra hard to see. `ExportedProgram.run_decompositions` would do part of this, but
retraces the whole model (4 to 9 s for the models we care about; this pass takes 0.1 s). It is used
only when the graph writes through a view, where removing the write needs real alias analysis.

Writing in place: ``y = op_(x)`` is ``y = op(x)``, with later users of x given y, when no other
value that shares memory with x is used afterwards.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from ..graph.changes import Change, PassResult
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, operator_name, source_of
from ..system.torch_private import OpOverload
from . import spellings

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["REPLACED", "SPELLINGS", "normalize_ops"]

aten = torch.ops.aten

Rule = Callable[[GraphEditor, Node], "Node | None"]
REPLACED = frozenset(
    {
        aten.alias.default,
        aten.detach.default,
        aten.contiguous.default,
        aten.view.default,
        aten._unsafe_view.default,
        aten.flatten.using_ints,
        aten.unflatten.int,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.reshape_as.default,
        aten.view_as.default,
        aten.transpose.int,
        aten.t.default,
        aten.movedim.int,
        aten.movedim.intlist,
        aten.swapaxes.default,
        aten.swapdims.default,
        aten.numpy_T.default,
        aten.mT.default,
        aten.adjoint.default,
        aten.expand_as.default,
        aten.broadcast_to.default,
        aten._adaptive_avg_pool2d.default,
        aten.channel_shuffle.default,
        aten.mm.default,
        aten.bmm.default,
    }
)
"""Ops that no program holds after this pass; `lowering` has no rules for them."""

_RULES: dict[Any, Rule] = {
    aten.einsum.default: spellings.einsum_as_product,
    aten.matmul.default: spellings.product_as_linear,
    aten.select.int: spellings.selections_as_split,
    aten.channel_shuffle.default: spellings.shuffle_as_permute,
}
_ASSERTIONS = tuple(
    getattr(getattr(aten, name), overload)
    for name in (
        "_assert_async",
        "_assert_scalar",
        "_assert_tensor_metadata",
        "_functional_assert_async",
        "_functional_assert_scalar",
    )
    for overload in getattr(aten, name).overloads()
)
_PASS_THROUGH = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


def normalize_ops(program: Program) -> PassResult:
    """One functional spelling for everything."""
    graph = GraphEditor(program)
    before: tuple[Change, ...] = ()
    if not _write_nowhere(graph):
        decomposed = program.exported.run_decompositions({})
        _return_no_inputs(decomposed)
        program = dataclasses.replace(program, exported=decomposed)
        before = (Change("graph", "writes through views removed by run_decompositions"),)
        graph = GraphEditor(program)
    for node in graph.nodes:
        if node.op != "call_function" or node not in graph:
            continue
        if node.target in _ASSERTIONS and not node.users:
            graph.changed(node, "assertion removed")
            graph.erase(node)
            continue
        rule = _RULES.get(node.target)
        new = rule(graph, node) if rule is not None else None
        if new is not None and new is not node:
            kept = new.target if new.op == "call_function" else "its input"
            graph.replace(node, new, f"{node.target} is {kept}")
    result = graph.result()
    return dataclasses.replace(result, changes=before + result.changes)


def _return_no_inputs(exported: torch.export.ExportedProgram) -> None:
    """Leave out what a program that was just made returns for its caller's tensors, into which the
    model writes: a file gives what the model returns."""
    specs, output = exported.graph_signature.output_specs, exported.graph.output_node()
    kept = [spec.kind is not OutputKind.USER_INPUT_MUTATION for spec in specs]
    results = zip(output.args[0], kept, strict=True)
    output.args = (tuple(result for result, keep in results if keep),)
    specs[:] = [spec for spec, keep in zip(specs, kept, strict=True) if keep]
    exported.graph_module.recompile()


# In place ---------------------------------------------------------------------------------------


def _write_nowhere(graph: GraphEditor) -> bool:
    """Replace in-place ops by functional ones; False when one writes through a view."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    root: dict[Node, Node] = {}
    group: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        root[node] = _memory_of(node, root)
        group.setdefault(root[node], []).append(node)
    for node in graph.nodes:
        if node.op != "call_function" or not _is_mutable(node.target):
            continue
        written = node.args[0]
        functional = _functional(node.target)
        if functional is None or not isinstance(written, Node):
            return False
        owner = root[written]
        if owner.op == "placeholder" and written not in graph.inputs:
            return False
        for alias in group[owner]:
            if alias in (written, node) or order[alias] > order[node]:
                continue
            if any(order.get(user, -1) > order[node] for user in alias.users):
                return False
        new = graph.call(functional, *node.args, like=node, kwargs=dict(node.kwargs))
        order[new] = order[node]
        root[new] = new
        group[new] = [new]
        for alias in group[owner]:
            if order[alias] > order[node]:
                root[alias] = new
                group[new].append(alias)
        for user in list(written.users):
            if order.get(user, -1) > order[node]:
                user.replace_input_with(written, new)
        graph.changed(node, f"{node.target} is {functional}")
        node.replace_all_uses_with(new)
        graph.erase(node)
    return True


def _is_mutable(target: Any) -> bool:
    return isinstance(target, OpOverload) and target._schema.is_mutable


def _functional(target: Any) -> Any:
    """The functional overload of an in-place op on its first argument, or None."""
    name = operator_name(target)
    arguments = target._schema.arguments
    writes = [a.alias_info is not None and a.alias_info.is_write for a in arguments]
    if not name.endswith("_") or not writes[0] or any(writes[1:]) or name in ("copy_", "set_"):
        return None
    packet = getattr(aten, name[:-1], None)
    overload = getattr(packet, target._overloadname, None)
    if overload is None or [a.name for a in overload._schema.arguments] != [
        a.name for a in arguments
    ]:
        return None
    return overload


def _memory_of(node: Node, root: dict[Node, Node]) -> Node:
    """The node whose memory ``node`` may share."""
    if node.op != "call_function" or not node.args:
        return node
    first = node.args[0]
    if not isinstance(first, Node):
        return node
    if not isinstance(node.target, OpOverload):  # getitem
        return root[first]
    schema = node.target._schema
    shares = any(value.alias_info is not None for value in schema.returns)
    name = schema.name.split("::")[1].rstrip("_")
    return root[first] if shares or name in (*_PASS_THROUGH, "einsum") else node


# Rules ------------------------------------------------------------------------------------------


def _rule(*targets: Any) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(targets, rule))
        return rule

    return register


@_rule(
    aten.alias.default,
    aten.detach.default,
    aten.detach_.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
    aten.to.device,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.other,
    aten.type_as.default,
    aten._to_copy.default,
)
def _copy(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    return source if source.meta["val"].dtype == node.meta["val"].dtype else None


@_rule(aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
def _dropout(graph: GraphEditor, node: Node) -> Node | None:
    if node.args[2] and node.args[1]:
        graph.refuse(node, "dropout in training mode is random; call .eval() before exporting")
        return None
    return source_of(node)


@_rule(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.reshape_as.default,
    aten.view_as.default,
)
def _reshape(graph: GraphEditor, node: Node) -> Node | None:
    shape = list(shape_of(node))
    if node.target is aten.reshape.default and node.args[1] == shape:
        return None
    return graph.call(aten.reshape.default, source_of(node), shape, like=node)


@_rule(
    aten.transpose.int,
    aten.t.default,
    aten.permute.default,
    aten.movedim.int,
    aten.movedim.intlist,
    aten.swapaxes.default,
    aten.swapdims.default,
    aten.numpy_T.default,
    aten.mT.default,
    aten.adjoint.default,
)
def _permute(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    rank = len(shape_of(source))
    # The op itself, applied to a tensor whose sizes are its axes' numbers plus one.
    probe = torch.empty([axis + 1 for axis in range(rank)], device="meta")
    moved = node.target(probe, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    order = [size - 1 for size in moved.shape]
    if node.target is aten.permute.default and node.args[1] == order:
        return None
    return graph.call(aten.permute.default, source, order, like=node)


@_rule(aten.expand_as.default, aten.expand.default, aten.broadcast_to.default)
def _expand(graph: GraphEditor, node: Node) -> Node | None:
    shape = list(shape_of(node))
    if node.target is aten.expand.default and list(node.args[1]) == shape:  # type: ignore[arg-type]
        return None
    return graph.call(aten.expand.default, source_of(node), shape, like=node)


@_rule(aten.mean.dim)
def _mean(graph: GraphEditor, node: Node) -> Node | None:
    dims: Any = node.args[1]
    keep = bool(argument(node, "keepdim"))
    rank = len(shape_of(source_of(node)))
    axes = sorted(d % rank for d in dims) if dims else list(range(rank))
    if argument(node, "dtype") is not None or (dims == axes and len(node.args) == 3):
        return None
    return graph.call(aten.mean.dim, source_of(node), axes, keep, like=node)


@_rule(aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default)
def _adaptive_pool(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    sizes, wanted = shape_of(source)[-2:], shape_of(node)[-2:]
    rank = len(shape_of(source))
    if wanted == (1, 1):
        return graph.call(aten.mean.dim, source, [rank - 2, rank - 1], True, like=node)
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        return None
    kernel = [size // out for size, out in zip(sizes, wanted, strict=True)]
    if kernel == [1, 1]:
        return source
    return graph.call(aten.avg_pool2d.default, source, kernel, kernel, like=node)


@_rule(
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.max_pool1d_with_indices.default,
    aten.max_pool2d_with_indices.default,
    aten.max_pool3d_with_indices.default,
)
def _max_pool(graph: GraphEditor, node: Node) -> Node | None:
    """Windows side by side where no stride is given; coremltools takes no call without one."""
    if argument(node, "stride"):
        return None
    kernel = argument(node, "kernel_size")
    rest = [argument(node, name) for name in ("padding", "dilation", "ceil_mode")]
    return graph.call(node.target, source_of(node), kernel, kernel, *rest, like=node)


@_rule(
    aten._native_batch_norm_legit_no_training.default,
    aten._native_batch_norm_legit.default,
    aten.native_batch_norm.default,
    aten.native_layer_norm.default,
)
def _decomposed_norm(graph: GraphEditor, node: Node) -> Node | None:
    """These return (result, …); getitem 0 is what counts. Replaces that item itself."""
    items = list(node.users)
    if any(item.args[1] != 0 for item in items if item.users):
        return None
    if node.target is aten.native_layer_norm.default:
        x, shape, weight, bias, eps = node.args
        target, args = aten.layer_norm.default, (x, shape, weight, bias, eps)
    else:
        if node.target is not aten._native_batch_norm_legit_no_training.default and node.args[5]:
            return None
        given = {name: argument(node, name) for name in ("momentum", "eps")}
        stored = node.args[:5]
        target = aten.batch_norm.default
        args = (*stored, False, given["momentum"], given["eps"], False)
    for item in items:
        if item.users:
            new = graph.call(target, *args, like=item)
            graph.replace(item, new, f"{node.target} is {target}")
    return None


@_rule(aten.rms_norm.default)
def _epsilon_given(graph: GraphEditor, node: Node) -> Node | None:
    """Without an epsilon it is that of float32, in which the model computes."""
    if argument(node, "eps") is None:
        x, shape = node.args[:2]
        epsilon = torch.finfo(torch.float32).eps
        graph.changed(node, f"{node.target} without an epsilon: {epsilon:.2e}")
        node.args, node.kwargs = (x, shape, argument(node, "weight"), epsilon), {}
    return None


@_rule(aten.convolution.default)
def _convolution(graph: GraphEditor, node: Node) -> Node | None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args
    rank = len(shape_of(source_of(node))) - 2
    if rank not in (1, 2, 3):
        return None
    if transposed:
        name = {
            1: "conv_transpose1d.default",
            2: "conv_transpose2d.input",
            3: "conv_transpose3d.input",
        }
        args = (x, weight, bias, stride, padding, output_padding, groups, dilation)
    else:
        name = {1: "conv1d.default", 2: "conv2d.default", 3: "conv3d.default"}
        args = (x, weight, bias, stride, padding, dilation, groups)  # type: ignore[assignment]
    packet, overload = name[rank].split(".")
    return graph.call(getattr(getattr(aten, packet), overload), *args, like=node)


@_rule(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)
def _named_padding(graph: GraphEditor, node: Node) -> Node | None:
    kernel = shape_of(node.args[1])[2:]  # type: ignore[arg-type]
    rank = len(kernel)  # the image may come without a batch
    dilation = as_list(argument(node, "dilation"), rank)
    total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    mode = argument(node, "padding")
    if mode != "valid" and any(t % 2 for t in total):
        return None
    padding = [0] * rank if mode == "valid" else [t // 2 for t in total]
    plain = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[rank]
    return graph.call(
        plain,
        node.args[0],
        node.args[1],
        argument(node, "bias"),
        as_list(argument(node, "stride"), rank),
        padding,
        dilation,
        argument(node, "groups"),
        like=node,
    )


@_rule(aten.addmm.default)
def _addmm(graph: GraphEditor, node: Node) -> Node | None:
    bias, x, transposed = node.args
    if node.kwargs or not isinstance(bias, Node) or len(shape_of(bias)) != 1:
        return None
    weight = _untransposed(transposed)
    return weight and graph.call(aten.linear.default, x, weight, bias, like=node)


@_rule(aten.mm.default, aten.bmm.default)
def _mm(graph: GraphEditor, node: Node) -> Node | None:
    x, other = node.args
    weight = _untransposed(other) if node.target is aten.mm.default else None
    if weight is not None and graph.is_constant(weight):
        return graph.call(aten.linear.default, x, weight, like=node)
    return graph.call(aten.matmul.default, x, other, like=node)


def _untransposed(node: Any) -> Node | None:
    if (
        node.op == "call_function"
        and node.target is aten.permute.default
        and node.args[1] == [1, 0]
    ):
        source: Node = node.args[0]
        return source
    return None


@_rule(aten._softmax.default)
def _softmax(graph: GraphEditor, node: Node) -> Node | None:
    return None if node.args[2] else graph.call(aten.softmax.int, *node.args[:2], like=node)


@_rule(aten.scaled_dot_product_attention.default)
def _attention(graph: GraphEditor, node: Node) -> Node | None:
    """Of four axes, which all converters have: those in front are joined, or there is one of 1."""
    lead = shape_of(node)[:-2]
    if len(lead) == 2 or argument(node, "enable_gqa"):
        return None

    def merged(x: Any) -> Any:
        if not isinstance(x, Node) or (lead and len(shape_of(x)) <= 2):  # a mask for all
            return x
        shape = (*lead, *shape_of(x)[-2:])
        if shape_of(x) != shape:
            x = graph.call(aten.expand.default, x, list(shape), like=node)
        flat = [math.prod(lead[:-1]), math.prod(lead[-1:]), *shape[-2:]]
        return graph.call(aten.reshape.default, x, flat, like=node)

    args = [merged(x) for x in node.args]
    kwargs = {name: merged(x) for name, x in node.kwargs.items()}
    flat = graph.call(node.target, *args, like=node, kwargs=kwargs)
    return graph.call(aten.reshape.default, flat, list(shape_of(node)), like=node)


SPELLINGS = frozenset(_RULES)
"""Operators that this pass may write in another way."""
