"""What the shell completes; see ``mobile-export --install-completion``."""

from __future__ import annotations

__all__ = ["names"]

_TIMM = "timm/"


def names(incomplete: str) -> list[str]:
    """Names of models that begin so: the built-in ones, and timm's behind ``timm/``."""
    if incomplete.startswith(_TIMM):
        return [name for name in _timm_names() if name.startswith(incomplete)]
    from ..models.table import names as built_in

    return [name for name in (*built_in(), _TIMM) if name.startswith(incomplete)]


def _timm_names() -> list[str]:
    try:
        import timm
    except ImportError:
        return []
    return [f"{_TIMM}{name}" for name in timm.list_models()]
