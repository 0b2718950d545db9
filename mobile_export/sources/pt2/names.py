"""Names of values that can stand in generated source text."""

from __future__ import annotations

import builtins
import keyword

__all__ = ["python_name"]

_RESERVED = {"self", "torch", "device", "inf", "nan", "math", "fx_pytree", "NoneType", "operator"}
"""What the source text that torch.fx generates calls its own"""


def python_name(name: str) -> str:
    """``name`` if generated source text can use it as a variable, else with ``_1`` added."""
    taken = keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name)
    return f"{name}_1" if taken or name in _RESERVED or not name.isidentifier() else name
