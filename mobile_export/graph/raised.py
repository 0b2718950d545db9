"""Which call of a program an exception is about, and where the model makes it."""

from __future__ import annotations

from torch.fx import Node

from .editor import where

__all__ = ["FAILED_RULE", "call_at", "line_of", "node_of"]

FAILED_RULE = "failed_rule"
"""The key of a node's ``meta`` under which stands what its rule raised."""


def line_of(node: Node) -> str:
    """The line of the model that makes a call, as Python's tracebacks name it, or ""."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    return files[-1] if files else ""


def call_at(node: Node) -> str:
    """A call: its operator, module and line, and what its rule raised, where that failed."""
    line, problem = line_of(node), node.meta.get(FAILED_RULE)
    name = str(node.target).removesuffix(".default")
    text = f"{name} at {where(node)}{f', {line}' if line else ''}"
    return text if problem is None else f"{text} (its rule failed: {problem}; please report it)"


def node_of(error: BaseException) -> Node | None:
    """The call that our code looked at when ``error`` was raised: the innermost local ``node``."""
    found: Node | None = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if str(frame.f_globals.get("__name__", "")).startswith("mobile_export."):
            held = frame.f_locals.get("node")
            held = getattr(frame.f_locals.get("self"), "node", None) if held is None else held
            found = held if isinstance(held, Node) else found
        trace = trace.tb_next
    return found
