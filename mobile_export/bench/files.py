"""What is measured: files that ``mobile-export`` wrote, with the manifest that vouches for them.

A model's name stands for every file of it in the current folder: ``mobile-bench emo_2m`` measures
``emo_2m.onnx``, ``emo_2m.tflite`` and so on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.content import sha256_of, size_of
from ..artifacts.manifest import Manifest, read_manifest, refuse_link_out
from ..artifacts.names import PROGRAM_FORMAT, artifact_stem, manifest_path
from ..errors import ArtifactError
from ..exporters.table import FORMATS

if TYPE_CHECKING:
    from .devices.device import Device
    from .record import ArtifactFacts

__all__ = ["BenchArtifact", "find_artifacts", "plain_name", "read_artifact"]


@dataclass(frozen=True)
class BenchArtifact:
    """A file to measure, with its hashes verified.

    Attributes:
        path: the artifact.
        files: it and its companions (the weights of a format of two files).
        manifest: what vouches for it.
    """

    path: Path
    files: tuple[Path, ...]
    manifest: Manifest

    @property
    def format(self) -> str:
        """Name of a row of the table of formats, or ``pt2``."""
        return self.manifest.format

    @property
    def model(self) -> str:
        """The source it was exported from."""
        return self.manifest.source

    @property
    def precision(self) -> str:
        """Of the file: ``fp32`` or ``fp16``."""
        return self.manifest.precision

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, C, H, W) of the PyTorch model; of several inputs, the first one's."""
        return self.manifest.input.shape

    @property
    def outputs(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of every output of the PyTorch model, in order."""
        return tuple((output.name, output.shape) for output in self.manifest.outputs)

    @property
    def suppresses(self) -> bool:
        """The file ends with non-maximum suppression: it returns detections."""
        return self.manifest.nms is not None

    @property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of every one of `files`, verified when the artifact was read."""
        return (self.manifest.sha256, *(c.sha256 for c in self.manifest.companions))

    def push_to(self, device: Device) -> list[str]:
        """Bring all files to a device; their paths there, in order.

        They keep a common stem there, made from the hashes of all: some runtimes derive the name of
        the weights from that of the network, and go on without any where it does not exist.
        """
        key = hashlib.sha256("".join(self.hashes).encode()).hexdigest()[:12]
        return [
            device.push(file, f"{key}-{plain_name(file.name)}", sha256=sha256)
            for file, sha256 in zip(self.files, self.hashes, strict=True)
        ]

    def facts(self) -> ArtifactFacts:
        """What a measurement keeps of it, JSON-ready."""
        return {
            "file": self.path.name,
            "format": self.format,
            "precision": self.precision,
            "sha256": self.manifest.sha256,
            "companions": {c.file: c.sha256 for c in self.manifest.companions},
            "bytes": sum(size_of(file) for file in self.files),
            "input_shape": list(self.input_shape),
            "weights": None if self.manifest.weights is None else self.manifest.weights.kind,
            "classes": None if self.manifest.build is None else self.manifest.build.num_classes,
        }


def plain_name(name: str) -> str:
    """``name`` with ``_`` for what is no letter, digit, ``.`` or ``-``, so that no tool trips."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


def find_artifacts(
    names: Sequence[str], formats: Sequence[str] | None, folder: Path = Path()
) -> list[BenchArtifact]:
    """The files that ``names`` stand for, in order, each once.

    Args:
        names: files, or models whose files lie in ``folder``.
        formats: of a model's files, those to take; None takes all. A file named by itself is
            always taken.

    Raises:
        ArtifactError: a name has no file, or a file does not deserve trust (`read_artifact`).
    """
    paths: dict[Path, None] = {}
    for name in names:
        paths |= dict.fromkeys(_files_of(name, formats, folder))
    return [read_artifact(path) for path in paths]


def _files_of(name: str, formats: Sequence[str] | None, folder: Path) -> list[Path]:
    suffixes = _suffixes()
    if name.endswith(tuple(suffixes.values())) or Path(name).exists():
        return [Path(name)]
    stem = artifact_stem(name)
    wanted = {f: s for f, s in suffixes.items() if formats is None or f in formats}
    found = [folder / (stem + suffix) for suffix in wanted.values()]
    found = [path for path in found if path.exists()]
    if not found:
        looked = ", ".join(stem + suffix for suffix in wanted.values())
        raise ArtifactError(
            f"There is no file of {name} in {folder.resolve()} (looked for {looked}).",
            hint=f"Write them first: mobile-export all {name}",
        )
    return found


def _suffixes() -> dict[str, str]:
    """Suffix of every format that can be measured."""
    return {row.name: row.suffix for row in FORMATS} | {PROGRAM_FORMAT: f".{PROGRAM_FORMAT}"}


def read_artifact(path: Path) -> BenchArtifact:
    """An artifact with its manifest, after comparing the hashes of its files.

    Raises:
        ArtifactError: a file or the manifest does not exist, cannot be read or leads elsewhere,
            the manifest speaks of another format, or a file is not the one that it vouches for.
    """
    if not path.exists():
        raise ArtifactError(
            f"{path} does not exist.", hint="Write it first: mobile-export all MODEL"
        )
    if not path.name or path.name == "..":
        raise ArtifactError(f"{path} is a folder.", hint="Name an exported file in it.")
    manifest = read_manifest(path)
    _require_format(path, manifest.format)
    files = [path, *(path.with_name(companion.file) for companion in manifest.companions)]
    hashes = [manifest.sha256, *(companion.sha256 for companion in manifest.companions)]
    for file, wanted in zip(files, hashes, strict=True):
        if not file.exists():
            raise ArtifactError(f"{file} does not exist; {path} is nothing without it.")
        if not file.is_file() and not file.is_dir():
            raise ArtifactError(f"{file} is not a file.", hint="Give what mobile-export wrote.")
        if file != path:
            refuse_link_out(file, path)
        if sha256_of(file) != wanted:
            raise ArtifactError(
                f"{file} is not the file that {manifest_path(path).name} vouches for: "
                "its SHA-256 differs.",
                hint="It was changed after it was checked. Export it again with --force.",
            )
    return BenchArtifact(path, tuple(files), manifest)


def _require_format(path: Path, name: str) -> None:
    """Raise ArtifactError where files of the format ``name`` are called otherwise than ``path``.

    A manifest that names no format says nothing of it.
    """
    if not name:
        return
    suffixes = _suffixes()
    where = manifest_path(path).name
    if name not in suffixes:
        raise ArtifactError(
            f"{where} names the format {name!r}, which is not known.",
            hint=f"Known: {', '.join(suffixes)}. Export the file again with this version.",
        )
    if not path.name.endswith(suffixes[name]):
        raise ArtifactError(
            f"{where} says that {path.name} is a file of the format {name}, but the names of those "
            f"end in {suffixes[name]}.",
            hint="Keep the name that the file was written with, or export it again.",
        )
