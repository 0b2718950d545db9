"""One TFLite file with a signature for each size of its input.

Each size is a subgraph of its own, as it was converted; constants that are the same to the last
byte are stored once, so that the file grows by its operators only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .flatbuffer import pack, unpack

__all__ = ["FIRST", "signature_at", "with_signatures"]

FIRST = "serving_default"
"""The signature of the first size, and the only one of a file of one: as litert-torch calls it."""


def signature_at(size: tuple[int, int]) -> str:
    """The name of the signature for images of (height, width), but the first."""
    return f"size_{size[0]}x{size[1]}"


def with_signatures(content: bytes, others: Mapping[str, bytes]) -> bytes:
    """The file ``content`` with those of ``others``, by the names of their signatures."""
    if not others:
        return content
    model = unpack(content)
    stored: dict[bytes, int] = {}
    for index, buffer in enumerate(model.buffers):
        if (data := _data(buffer)) is not None:
            stored.setdefault(data, index)
    for key, other in others.items():
        _append(model, unpack(other), key, stored)
    return pack(model)


def _data(buffer: Any) -> bytes | None:
    """What a buffer holds; None of one that holds nothing."""
    return None if buffer.data is None or not len(buffer.data) else bytes(buffer.data)


def _append(model: Any, other: Any, key: str, stored: dict[bytes, int]) -> None:
    """Add the subgraphs of ``other`` to ``model``, and its one signature as ``key``.

    Args:
        stored: places of the buffers of ``model``, by what they hold.
    """
    buffers = [_place(model, buffer, stored) for buffer in other.buffers]
    codes = [_code(model, code) for code in other.operatorCodes]
    before = len(model.subgraphs)
    for graph in other.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = buffers[tensor.buffer]
        for call in graph.operators or ():
            call.opcodeIndex = codes[call.opcodeIndex]
            _renumber([call.builtinOptions, getattr(call, "builtinOptions2", None)], before)
        model.subgraphs.append(graph)
    (signature,) = other.signatureDefs
    signature.signatureKey = key.encode()
    signature.subgraphIndex += before
    model.signatureDefs.append(signature)


def _renumber(options: Sequence[Any], before: int) -> None:
    """Let options that name a subgraph, such as those of loops, name it ``before`` places on."""
    for each in options:
        named = {} if each is None else vars(each)
        for field in [name for name in named if name.endswith("SubgraphIndex")]:
            setattr(each, field, named[field] + before)


def _place(model: Any, buffer: Any, stored: dict[bytes, int]) -> int:
    """Where ``model`` has what ``buffer`` holds; the first buffer of a file holds nothing."""
    data = _data(buffer)
    if data is None:
        return 0
    if data not in stored:
        stored[data] = len(model.buffers)
        model.buffers.append(buffer)
    return stored[data]


def _code(model: Any, code: Any) -> int:
    """Where ``model`` has an operator code."""
    for index, known in enumerate(model.operatorCodes):
        if vars(known) == vars(code):
            return index
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
