"""Where the official weights of built-in models are: ``data/checkpoints.csv``.

Only places that the official repository documents; ``source`` says where it does. A relative link
of a README is written as the address of that file in that commit. Importable without torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["PublicCheckpoint", "public_checkpoint", "public_checkpoints"]


@dataclass(frozen=True)
class PublicCheckpoint:
    """The official weights of models.

    Attributes:
        models: that they belong to.
        file: its name; "" where the page does not say.
        url: of the file or, if not ``direct``, of a page to download it from in a browser.
        sha256: of the file; ``git_blob``: its SHA-1 as git names it, known of a file in a
            repository; None: nobody published one.
        bytes: its size; None: not known.
        source: where upstream documents it.
    """

    models: tuple[str, ...]
    file: str
    url: str
    direct: bool
    sha256: str | None
    git_blob: str | None
    bytes: int | None
    source: str

    @property
    def said(self) -> str:
        """In words, for `info`."""
        how = "`pretrained` downloads it" if self.direct else "to be downloaded in a browser"
        pinned = "pinned" if self.sha256 or self.git_blob else "no checksum is published"
        name = f"{self.file}: " if self.file else ""
        return f"{name}{self.url} ({how}{f', {pinned}' if self.direct else ''}; {self.source})"


@cache
def public_checkpoints() -> tuple[PublicCheckpoint, ...]:
    """All that are known."""
    place = resources.files("mobile_export.models.data").joinpath("checkpoints.csv")
    return tuple(
        PublicCheckpoint(
            models=tuple(row["models"].split()),
            file=row["file"],
            url=row["url"],
            direct=row["direct"] == "yes",
            sha256=row["sha256"] or None,
            git_blob=row["git_blob"] or None,
            bytes=int(row["bytes"]) if row["bytes"] else None,
            source=row["source"],
        )
        for row in csv.DictReader(place.read_text("utf-8").splitlines())
    )


def public_checkpoint(model: str) -> PublicCheckpoint | None:
    """The official weights of a built-in model; None where none are known to be public."""
    return next((each for each in public_checkpoints() if model in each.models), None)
