"""The built-in zoo: one file per model family, one table of names (`registry`)."""

from __future__ import annotations
