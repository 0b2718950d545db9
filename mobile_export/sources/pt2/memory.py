"""How much memory the values of a saved program take, found out before any of them is computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor
from torch.fx import Graph, Node
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["peak_bytes"]

_BYTES = 8
"""Of a number in float64, in which a program is compared."""


def peak_bytes(graph: Graph, values: Mapping[Node, Tensor], inputs: Collection[Node]) -> int:
    """Most bytes that the values of a program have at one time, floating-point numbers in float64.

    A value is there from the call that makes it to the last one that takes it or a view of it. What
    does not depend on the user's inputs is there to the end: `passes.fold_constants` stores it.

    Args:
        values: fake tensors, whose storages have sizes and no memory. A call without one counts for
            nothing.
        inputs: the placeholders that the user fills.
    """
    place = {node: index for index, node in enumerate(graph.nodes)}
    depends: set[Node] = set(inputs)
    began: dict[StorageWeakRef, tuple[int, int]] = {}
    ends: dict[StorageWeakRef, int] = {}
    for node, index in place.items():
        if not depends.isdisjoint(node.all_input_nodes):
            depends.add(node)
        value = values.get(node)
        if value is None:
            continue
        storage = StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]
        if storage not in began:
            width = _BYTES if value.is_floating_point() else value.element_size()
            began[storage] = index, value.untyped_storage().nbytes() // value.element_size() * width
        last = max([index, *(place[user] for user in node.users)])
        ends[storage] = max(ends.get(storage, 0), last if node in depends else len(place))
    change = [0] * (len(place) + 2)
    for storage, (index, size) in began.items():
        change[index] += size
        change[ends[storage] + 1] -= size
    peak = now = 0
    for step in change:
        now += step
        peak = max(peak, now)
    return peak
