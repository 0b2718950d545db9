"""What the shell completes; see ``mobile-export --install-completion``."""

from __future__ import annotations

__all__ = ["names"]

_TIMM = "timm/"


def names(incomplete: str) -> list[str]:
    """Names of models that begin so: the built-in ones, and timm's behind ``timm/``."""
    if incomplete.startswith(_TIMM):
        from ..sources.request import timm_names

        wanted = incomplete.removeprefix(_TIMM)
        return [f"{_TIMM}{name}" for name in timm_names() if name.startswith(wanted)]
    from ..models.table import names as built_in

    return [name for name in (*built_in(), _TIMM) if name.startswith(incomplete)]
