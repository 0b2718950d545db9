"""ExportConfig: every choice of one run, frozen, passed down. No globals, no environment.

Importing it imports no torch: the command line reads its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..detection.options import NmsOptions
from ..errors import UsageError
from ..graph.specs import Thresholds
from ..quantization.options import QuantizationOptions
from ..system.options import option
from .interface import WriteJob
from .row import Format
from .table import get_format, precision_named, precision_names

__all__ = ["ExportConfig"]


@dataclass(frozen=True)
class ExportConfig:
    """What the formats of one run share, and one object of options per format.

    Attributes:
        out_dir: folder of the artifacts; made when it does not exist.
        force: overwrite existing artifacts.
        keep_failed: keep an artifact whose parity failed or is inconclusive.
        precision: for example "fp16"; None takes each format's default.
        verbose: let the vendors' own output through.
        no_passes: names of graph passes to leave out.
        samples: a folder of pictures or arrays that parity is measured on as well.
        nms: end detectors with non-maximum suppression; None leaves boxes and scores.
        quantization: of files of integers.
        options: by name of the format; one that is not there has its defaults.
    """

    out_dir: Path = Path()
    force: bool = option(False, help="Overwrite existing files.", flag="--force")
    keep_failed: bool = option(False, help="Keep a file whose parity failed.", flag="--keep-failed")
    precision: str | None = option(
        None,
        help=f"{' or '.join(sorted(precision_names()))}; each format has its default.",
    )
    verbose: bool = option(False, help="Let the vendors' own output through.", flag="--verbose")
    no_passes: tuple[str, ...] = option(
        (), help="Leave a graph pass out; may be given again.", flag="--no-pass"
    )
    samples: Path | None = option(  # noqa: RUF009 (a field)
        None, help="Folder of pictures (.png, .jpg, .npy, .npz) to check the files on as well."
    )
    nms: NmsOptions | None = None
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision is not None:
            precision_named(self.precision)
        for name, own in self.options.items():
            kind = get_format(name).options
            if not isinstance(own, kind):
                raise UsageError(
                    f"`{name}` is a {type(own).__name__}.", hint=f"Give a {kind.__name__}."
                )

    def job(self, row: Format, own: Thresholds | None = None) -> WriteJob:
        """How a file of one format is written, without what the format lacks.

        Args:
            own: what the model's authors suppress with.

        Raises:
            UsageError: the format does not have the precision.
        """
        return WriteJob(
            precision=row.precision(self.precision),
            options=self.options.get(row.name) or row.options(),
            nms=self.nms.thresholds(own) if self.nms is not None and row.suppresses else None,
            verbose=self.verbose,
        )
