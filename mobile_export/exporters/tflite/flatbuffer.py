"""TFLite's flatbuffer as objects and back, and the layout of an image that its shape does not tell.

An image (1, C, H, W) with C = H = W has the same shape as (1, H, W, C). Files with such an input
say which it is: ``nhwc`` or ``nchw``, as metadata of the name `LAYOUT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "LAYOUT",
    "add_buffer",
    "name_of",
    "operator_code",
    "pack",
    "unpack",
    "with_entries",
]

LAYOUT = "mobile_export.layout"
_ALIGNMENT = 16
"""In bytes, that TFLite's schema demands of constants."""


def unpack(content: bytes) -> Any:
    """The model in ``content``, to be changed."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.size and buffer.offset > 1:  # it lies behind the table, in files near 2 GB
            part = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(part, dtype=np.uint8)
            buffer.offset = buffer.size = 0
    return model


def add_buffer(model: Any, values: np.ndarray) -> int:
    """Store an array in ``model``; the place of its buffer."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def operator_code(model: Any, word: str, version: int = 1, *, any_version: bool = False) -> int:
    """The place of the code of the operator called ``word``, which is added where there is none.

    Args:
        version: of the operator.
        any_version: a code that is there will do, whatever its version.
    """
    from ai_edge_litert import schema_py_generated as schema

    wanted = getattr(schema.BuiltinOperator, word)
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted and (any_version or code.version == version):
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def name_of(tensor: Any) -> str:
    """A tensor's name, which is bytes where it was read from a file."""
    name = tensor.name
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def pack(model: Any) -> bytes:
    """The flatbuffer of ``model``, whose constants stay aligned."""
    import flatbuffers

    known: dict[tuple[str, bytes], Any] = {}

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Keeps the alignment of constants, which the generated Python classes forget.

        Equal lists are there once: the zero points of weights, 8 bytes for each channel.
        """

        def CreateNumpyVector(self, x: np.ndarray) -> Any:
            if x.dtype != np.uint8:
                key = (x.dtype.str, x.tobytes())
                if key not in known:
                    known[key] = super().CreateNumpyVector(x)
                return known[key]
            self.StartVector(1, x.size, _ALIGNMENT)
            head = self.Head() - x.size
            self.head = head
            self.Bytes[head : head + x.size] = x.tobytes()
            return self.EndVector()

    builder = Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_entries(content: bytes, entries: Mapping[str, bytes]) -> bytes:
    """``content`` with more metadata, by name."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    model.metadata = list(model.metadata or [])
    for name, data in entries.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, add_buffer(model, np.frombuffer(data, dtype=np.uint8))
        model.metadata.append(entry)
    return pack(model)
