"""The built-in models: one folder per family, and one table of their rows (`table`)."""

from __future__ import annotations
