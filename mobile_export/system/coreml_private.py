"""coremltools' private interfaces, each once. What breaks when they change:

- `add_graph_pass`: Core ML files get two transposes around every layer norm over channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["add_graph_pass", "builder"]

_NAMESPACE = "mobile_export"


def add_graph_pass(pipeline: Any, name: str, apply: Callable[[Any], None], *, behind: str) -> None:
    """Let coremltools run ``apply`` on every function of a MIL program.

    coremltools 9.0: ``AbstractGraphPass`` and its registry.

    Args:
        pipeline: a ``coremltools.PassPipeline``.
        behind: the pass behind which it runs.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if f"{_NAMESPACE}::{name}" not in PASS_REGISTRY:

        def run(self: Any, prog: Any) -> None:
            for function in prog.functions.values():
                apply(function)

        made = type(name, (AbstractGraphPass,), {"apply": run, "__doc__": apply.__doc__})
        register_pass(namespace=_NAMESPACE)(made)
    pipeline.insert_pass(pipeline.passes.index(behind) + 1, f"{_NAMESPACE}::{name}")


def builder() -> Any:
    """What makes MIL operations (``coremltools.converters.mil.Builder``)."""
    from coremltools.converters.mil import Builder

    return Builder
