"""What the shell completes; see ``mobile-export --install-completion``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["among", "names"]

_TIMM, _TORCHVISION, _HF = "timm/", "torchvision/", "hf/"


def names(incomplete: str) -> list[str]:
    """Names of models that begin so: the built-in ones, and those of libraries behind their
    prefix."""
    from ..models.heads import head_names
    from ..sources.names import timm_names, torchvision_names

    backbone, sign, begun = incomplete.rpartition("+")
    if sign:
        return [f"{backbone}+{head}" for head in head_names() if head.startswith(begun)]

    for prefix, known in ((_TIMM, timm_names), (_TORCHVISION, torchvision_names)):
        if incomplete.startswith(prefix):
            wanted = incomplete.removeprefix(prefix)
            return [f"{prefix}{name}" for name in known() if name.startswith(wanted)]
    from ..models.table import names as built_in

    return [name for name in (*built_in(), _TIMM, _TORCHVISION, _HF) if name.startswith(incomplete)]


def among(values: Iterable[str]) -> Callable[[str], list[str]]:
    """What completes one of a few values."""
    known = tuple(dict.fromkeys(values))

    def complete(incomplete: str) -> list[str]:
        return [value for value in known if value.startswith(incomplete)]

    return complete
