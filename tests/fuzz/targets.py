"""Coverage-guided fuzzing of the readers of files, with atheris (``pip install atheris``).

    python -m tests.fuzz.targets TARGET [CORPUS_FOLDER] [options of libFuzzer]
    python -m tests.fuzz.targets tnnmodel corpus/ -max_total_time=3600 -rss_limit_mb=2048

A target takes bytes. It may raise the error that its reader promises; anything else, a hang and a
lack of memory are finds, which libFuzzer writes to a file that is given as the only argument to
repeat it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mobile_export.errors import BUG, ArtifactError, MobileExportError

__all__ = ["TARGETS", "main", "saved", "saved_archive"]

Target = Callable[[bytes], None]


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """An error of ours is what a damaged file leads to; one that speaks of a bug is a find."""
    try:
        yield
    except MobileExportError as error:
        if BUG in str(error):
            raise AssertionError(str(error)) from error


def _tnnproto(data: bytes) -> None:
    from mobile_export.exporters.tnn.evaluator.proto import FormatError, parse_proto

    with contextlib.suppress(FormatError):
        parse_proto(data.decode("latin-1"))


def _tnnmodel(data: bytes) -> None:
    from mobile_export.exporters.tnn.evaluator.proto import FormatError
    from mobile_export.exporters.tnn.evaluator.weights import parse_model

    with contextlib.suppress(FormatError):
        parse_model(data)


def _wire(data: bytes) -> None:
    from mobile_export.exporters.coreml.evaluator.wire import Message, WireError

    with contextlib.suppress(WireError):
        message = Message(data)
        for number in message.numbers():
            for read in (message.integers, message.floats, message.messages, message.integer):
                with contextlib.suppress(WireError):
                    read(number)


def _mlmodel(data: bytes) -> None:
    """The first bytes are the weights, the rest is the program."""
    from mobile_export.exporters.coreml.session import describe

    package = _folder() / "x.mlpackage"
    data_folder = package / "Data"
    if not package.exists():
        data_folder.mkdir(parents=True)
        items = '{"1": {"path": "m"}}'
        (package / "Manifest.json").write_text(
            f'{{"rootModelIdentifier": "1", "itemInfoEntries": {items}}}'
        )
    (data_folder / "w").write_bytes(data[:256])
    (data_folder / "m").write_bytes(data[256:])
    with contextlib.suppress(ArtifactError):
        describe(package)


def _ncnn(data: bytes) -> None:
    """The weights follow the first zero byte."""
    from mobile_export.exporters.ncnn.session import describe

    text, _, weights = data.partition(b"\0")
    path = _folder() / "x.param"
    path.write_bytes(text)
    path.with_suffix(".bin").write_bytes(weights)
    with contextlib.suppress(ArtifactError):
        describe(path)


def _tflite(data: bytes) -> None:
    from mobile_export.exporters.tflite import session
    from mobile_export.exporters.tflite.detector import find_post_processing

    path = _folder() / "x.tflite"
    path.write_bytes(data)
    session._gpu_compatibility = lambda path: ""  # TensorFlow's own analyzer
    for read in (session.describe, find_post_processing):
        with contextlib.suppress(ArtifactError):
            read(path)


def _package(data: bytes) -> None:
    """The Manifest.json of a folder, which says whether the folder may be replaced."""
    from mobile_export.artifacts.replaceable import require_replaceable

    folder = _folder() / "old.mlpackage"
    folder.mkdir(exist_ok=True)
    (folder / "Manifest.json").write_bytes(data)
    folder.with_name("old.mlpackage.manifest.json").write_bytes(data)
    with _refused():
        require_replaceable(folder)


def _manifest(data: bytes) -> None:
    """The manifest beside a file."""
    from mobile_export.artifacts.manifest import read_manifest

    path = _folder() / "x.onnx"
    path.with_name("x.onnx.manifest.json").write_bytes(data)
    with _refused():
        read_manifest(path).to_dict()


def _store(data: bytes) -> None:
    """A store, and the tables made of it."""
    from mobile_export.bench.report import as_csv, as_html, as_latex, as_markdown
    from mobile_export.bench.store import read
    from mobile_export.bench.tables import make_rows

    path = _folder() / "store.jsonl"
    path.write_bytes(data)
    with _refused():
        rows, _ = make_rows(read(path).measurements, flagged=True, history=True)
        if rows:
            for write in (as_csv, as_latex, as_markdown):
                write(rows)
            as_html(rows, title="x", plot=None)


def _journal(data: bytes) -> None:
    """The journal of a run that was killed between two moves: of the drafts, one waits for a free
    place; what stands in another's is kept."""
    from mobile_export.artifacts.journal import finish_moves

    out = _folder() / "out"
    folder = out / "killed"
    for name in ("new", "old"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("x.onnx", "y.onnx"):
        (folder / "new" / name).write_text("draft")
    (out / "x.onnx").unlink(missing_ok=True)
    (out / "y.onnx").write_text("precious")
    (folder / "journal.json").write_bytes(data)
    with _refused():
        finish_moves(folder, out)
    assert (out / "y.onnx").read_text() == "precious"
    assert {each.name for each in out.iterdir()} <= {"killed", "x.onnx", "y.onnx"}


def _archive(data: bytes) -> None:
    """A zip archive that says that it is a program."""
    from mobile_export.sources.pt2.archive import open_archive

    with _refused():
        open_archive(data, "x.pt2")


def _program(data: bytes) -> None:
    """The model.json of a program whose other members are as they should be."""
    from mobile_export.sources.pt2.archive import open_archive
    from mobile_export.sources.pt2.build import build_program

    with _refused():
        build_program(open_archive(_around(_SAVED, "models/model.json", data), "x.pt2"), "x.pt2")


def _pickle(data: bytes) -> None:
    """The data.pkl of a checkpoint whose other members are as they should be."""
    from mobile_export.sources.checkpoint import read_checkpoint

    path = _folder() / "x.pth"
    path.write_bytes(_around(_CHECKPOINT, "data.pkl", data))
    with _refused():
        read_checkpoint(path)


_SAVED = "program"
_CHECKPOINT = "checkpoint"


@functools.cache
def saved(kind: str) -> dict[str, bytes]:
    """The members of a good program or checkpoint, by their names in its folder."""
    import torch

    from tests.pt2_files import Small, save_program

    path = _folder() / f"good.{kind}.pt2"
    if kind == _SAVED:
        save_program(path)
    else:
        torch.save({"state_dict": Small().state_dict(), "epoch": 3}, path)
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def saved_archive() -> bytes:
    """A good program."""
    saved(_SAVED)
    return (_folder() / f"good.{_SAVED}.pt2").read_bytes()


def _around(kind: str, member: str, content: bytes) -> bytes:
    """A good archive with one member replaced, its checksum right."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, old in saved(kind).items():
            archive.writestr(f"top/{name}", content if name == member else old)
    return made.getvalue()


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


TARGETS: dict[str, Target] = {
    "archive": _archive,
    "journal": _journal,
    "manifest": _manifest,
    "mlmodel": _mlmodel,
    "ncnn": _ncnn,
    "package": _package,
    "pickle": _pickle,
    "program": _program,
    "store": _store,
    "tflite": _tflite,
    "tnnmodel": _tnnmodel,
    "tnnproto": _tnnproto,
    "wire": _wire,
}


def main() -> None:
    """Entry point: the name of a target, then what libFuzzer takes."""
    import atheris

    name, *rest = sys.argv[1:]
    with atheris.instrument_imports(include=["mobile_export"]):
        target = TARGETS[name]
        target(b"")  # imports its reader
    atheris.Setup([sys.argv[0], *rest], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
