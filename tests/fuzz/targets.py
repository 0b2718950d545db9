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
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mobile_export.errors import ArtifactError

__all__ = ["TARGETS", "main"]

Target = Callable[[bytes], None]


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


def _manifest(data: bytes) -> None:
    """The one beside a folder, which says whether the folder may be replaced."""
    from mobile_export.artifacts.replaceable import require_replaceable

    folder = _folder() / "old.mlpackage"
    folder.mkdir(exist_ok=True)
    (folder / "Manifest.json").write_bytes(data)
    folder.with_name("old.mlpackage.manifest.json").write_bytes(data)
    with contextlib.suppress(ArtifactError):
        require_replaceable(folder)


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


TARGETS: dict[str, Target] = {
    "manifest": _manifest,
    "mlmodel": _mlmodel,
    "ncnn": _ncnn,
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
