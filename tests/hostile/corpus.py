"""Hostile files of every kind that the project reads, from a seed.

    corpus = Corpus(goods)
    path, what = corpus.make("checkpoint", seed, folder)

The first seeds of a kind make what was thought of by hand, one after the other; every later one
makes a random change of a good file. A file that runs something runs `COMMAND`, which leaves a
canary. Nothing here is given to a reader of ours: what must be is in `tests.hostile.commands`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mobile_export.exporters.table import format_of_file
from tests.hostile.damage import damaged

__all__ = ["CANARY", "Corpus", "KINDS"]

CANARY = "HOSTILE_CANARY"
"""Environment variable: the file that appears when something was executed"""
COMMAND = f'touch "${CANARY}"'
CONTROL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e\u2028"
EXPRESSION = f"__import__('os').system('{COMMAND}')"

Maker = Callable[["Corpus", Path, random.Random], Path]
KINDS: dict[str, list[Maker]] = {}
"""Of every kind, what was thought of by hand."""


def makes(*kinds: str) -> Callable[[Maker], Maker]:
    """Register a maker of one hostile file."""

    def register(maker: Maker) -> Maker:
        for kind in kinds:
            KINDS.setdefault(kind, []).append(maker)
        return maker

    return register


class Corpus:
    """Hostile files made of good ones.

    Args:
        goods: a folder with ``net.pth``, ``net.safetensors``, ``net.pt2``, ``store.jsonl``,
            ``labels.txt``, ``models.txt``, ``matrix.json``, ``sweep.toml``,
            ``sweep.sqlite``, ``pictures/``, ``prepared/`` and files of the formats.
    """

    def __init__(self, goods: Path) -> None:
        self.goods = goods

    def make(self, kind: str, seed: int, folder: Path) -> tuple[Path, str]:
        """Write one hostile file into an empty folder; its path and how it was made."""
        rng = random.Random(f"{kind}-{seed}")
        by_hand = KINDS[kind]
        maker = by_hand[seed] if seed < len(by_hand) else RANDOM[kind]
        return maker(self, folder, rng), maker.__name__.strip("_")

    def copy(self, name: str, folder: Path) -> Path:
        """A good artifact, its companions and its manifest."""
        good = self.goods / name
        for each in (*_parts(good), _manifest_of(good)):
            (shutil.copytree if each.is_dir() else shutil.copy)(each, folder / each.name)
        return folder / name

    @property
    def artifacts(self) -> list[str]:
        """Names of the exported files."""
        found = (path.name for path in self.goods.glob("tiny.*.manifest.json"))
        return sorted(name.removesuffix(".manifest.json") for name in found)


# What is no file at all.

FILES = {
    "artifact": "x.onnx",
    "checkpoint": "x.pth",
    "labels": "x.txt",
    "matrix": "x.json",
    "models": "x.txt",
    "package": "x.mlpackage",
    "program": "x.pt2",
    "spec": "x.toml",
    "store": "x.jsonl",
    "sweep": "x.sqlite",
}
"""How a file of each kind is called."""


def _odd(make: Callable[[Path], object], name: str) -> None:
    for corpus_kind in FILES:

        def of_kind(
            corpus: Corpus, folder: Path, rng: random.Random, *, file: str = FILES[corpus_kind]
        ) -> Path:
            make(folder / file)
            return folder / file

        of_kind.__name__ = name
        makes(corpus_kind)(of_kind)


def _socket(path: Path) -> None:
    """A socket; its name must be short, so it is bound from its folder."""
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(path.parent)
            bound.bind(path.name)
        finally:
            os.fchdir(here)
            os.close(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(20 * 2**30)


_odd(lambda path: None, "missing")
_odd(lambda path: path.touch(), "empty")
_odd(lambda path: path.mkdir(), "folder")
_odd(os.mkfifo, "named pipe")
_odd(_socket, "socket")
_odd(lambda path: path.symlink_to("/dev/zero"), "link to /dev/zero")
_odd(lambda path: path.symlink_to("nowhere"), "dangling link")
_odd(lambda path: path.symlink_to(path.name), "link to itself")
_odd(_sparse, "20 GiB of nothing")
_odd(lambda path: _write(path, b"\xff\xfe" + CONTROL.encode("utf-16-le")), "UTF-16")
_odd(lambda path: _write(path, b"[" * 200_000), "nested lists")
_odd(lambda path: _write(path, b'{"a":' * 200_000), "nested objects")
_odd(lambda path: _write(path, CONTROL.encode() * 100), "control sequences")


# Pickles.


class _Runs:
    """Unpickled, it is a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def _calls() -> Iterator[tuple[Any, ...]]:
    """Ways to run something while unpickling."""
    import functools
    import operator

    python = f"import os; os.system({COMMAND!r})"
    yield os.system, (COMMAND,)
    yield eval, (EXPRESSION,)
    yield exec, (python,)
    yield subprocess.call, (COMMAND, -1, None, None, None, None, None, True, True)
    yield subprocess.Popen, (COMMAND, -1, None, None, None, None, None, True, True)
    yield functools.partial, (os.system, COMMAND)
    yield operator.methodcaller, ("__class__",)
    yield operator.attrgetter, ("system",)
    yield __import__, ("this",)
    yield open, ("pwned", "w")


PICKLES = [list(_calls())[index] for index in range(10)]


def _pickled(content: Any, protocol: int) -> bytes:
    if protocol >= 0:
        return pickle.dumps(content, protocol)
    # what __setstate__ and __dict__ are called with: an object whose state is set by BUILD
    return b"\x80\x02cargparse\nNamespace\n)\x81" + pickle.dumps(content, 2)[2:-1] + b"b."


def _checkpoint_zip(corpus: Corpus, pickled: bytes, **changes: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(corpus.goods / "net.pth") as good, zipfile.ZipFile(made, "w") as archive:
        for name in good.namelist():
            archive.writestr(name, pickled if name.endswith("/data.pkl") else good.read(name))
    return made.getvalue()


def _pickle_makers() -> None:
    for index, call in enumerate(PICKLES):
        for form in ("zip", "legacy", "state"):

            def maker(
                corpus: Corpus,
                folder: Path,
                rng: random.Random,
                *,
                call: tuple[Any, ...] = call,
                form: str = form,
            ) -> Path:
                content = {"state_dict": {"head.weight": _Runs(*call)}}
                pickled = _pickled(content, -1 if form == "state" else rng.choice((2, 4)))
                if form == "legacy":
                    return _write(folder / "x.pth", pickled)
                return _write(folder / "x.pth", _checkpoint_zip(corpus, pickled))

            maker.__name__ = f"pickle {index} in a {form}"
            makes("checkpoint")(maker)


_pickle_makers()

_OPCODES = {
    "a pickle that is nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "a pickle of marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "a pickle that doubles": b"\x80\x02]q\x00" + b"(h\x00h\x00eh\x00" * 40 + b".",
    "a pickle with a large count": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a pickle with a larger count": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"abc.",
    "a pickle with a large index": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a pickle that pops": b"\x80\x02" + b"0" * 100 + b".",
    "a pickle of an extension": b"\x80\x02\x82\x01.",
    "a pickle that names a storage": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x10\x00\x00\x00../../etc/passwdX\x03\x00\x00\x00cpuJ\xff\xff\xff\x7ftQ.",
}


def _opcode_makers() -> None:
    for name, pickled in _OPCODES.items():
        for zipped in (True, False):

            def maker(
                corpus: Corpus,
                folder: Path,
                rng: random.Random,
                *,
                pickled: bytes = pickled,
                zipped: bool = zipped,
            ) -> Path:
                content = _checkpoint_zip(corpus, pickled) if zipped else pickled
                return _write(folder / "x.pth", content)

            maker.__name__ = name + (" in a zip" if zipped else "")
            makes("checkpoint")(maker)


_opcode_makers()


def _tensors() -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    """State dictionaries that are odd, from a good one."""
    import torch

    def with_value(make: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda good: {name: make(value) for name, value in good.items()}

    def holds_itself(good: dict[str, Any]) -> Any:
        outer: dict[str, Any] = {"epoch": 1}
        outer["state_dict"] = outer
        return outer

    def lists_itself(good: dict[str, Any]) -> Any:
        items: list[Any] = []
        items.append(items)
        return {"state_dict": {"head.weight": items}}

    def deep(good: dict[str, Any]) -> Any:
        content: Any = good
        for _ in range(300):
            content = {"state_dict": content}
        return content

    yield "huge weights", with_value(lambda v: v * 1e30)
    yield "tiny weights", with_value(lambda v: v * 1e-30)
    yield "NaN", with_value(lambda v: v * float("nan"))
    yield "infinity", with_value(lambda v: v + float("inf"))
    yield "integers", with_value(lambda v: v.long())
    yield "booleans", with_value(lambda v: v > 0)
    yield "complex", with_value(lambda v: v.to(torch.complex64))
    yield "bfloat16", with_value(lambda v: v.to(torch.bfloat16))
    yield "float8", with_value(lambda v: v.float().to(torch.float8_e4m3fn))
    yield "float64", with_value(lambda v: v.double())
    yield "sparse", with_value(lambda v: v.float().to_sparse())
    yield "meta", with_value(lambda v: v.to("meta"))
    yield "expanded", with_value(lambda v: torch.zeros(1).expand(2**40))
    yield "no elements", with_value(lambda v: torch.zeros(0, 3))
    yield "scalars", with_value(lambda v: torch.zeros(()))
    yield "texts", with_value(lambda v: CONTROL)
    yield "odd names", lambda good: {name + CONTROL: v for name, v in good.items()}
    yield "names that are numbers", lambda good: dict(enumerate(good.values()))
    yield "names that are tuples", lambda good: {(1, CONTROL): 1}
    yield "60,000 tensors", lambda good: {f"x.{i}": torch.zeros(()) for i in range(60_000)}
    yield "itself", holds_itself
    yield "a list of itself", lists_itself
    yield "300 dictionaries", deep
    yield "a list", lambda good: list(good.values())
    yield "a text", lambda good: CONTROL
    yield "nothing", lambda good: None


def _tensor_makers() -> None:
    for name, change in _tensors():

        def maker(
            corpus: Corpus,
            folder: Path,
            rng: random.Random,
            *,
            change: Callable[[dict[str, Any]], Any] = change,
        ) -> Path:
            import torch

            good = torch.load(corpus.goods / "net.pth", weights_only=True)["state_dict"]
            torch.save(change(good), folder / "x.pth")
            return folder / "x.pth"

        maker.__name__ = name
        makes("checkpoint")(maker)


_tensor_makers()


# Zip archives.


def _rezipped(
    path: Path, target: Path, change: Callable[[zipfile.ZipFile, str, bytes], None]
) -> Path:
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(target, "w") as archive:
        for name in good.namelist():
            change(archive, name, good.read(name))
    return target


def _zip_maker(name: str, change: Callable[[zipfile.ZipFile, str, bytes], None]) -> None:
    for kind, source in (("checkpoint", "net.pth"), ("program", "net.pt2")):

        def maker(
            corpus: Corpus, folder: Path, rng: random.Random, *, source: str = source
        ) -> Path:
            return _rezipped(corpus.goods / source, folder / f"x{Path(source).suffix}", change)

        maker.__name__ = name
        makes(kind)(maker)


def _deflate(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def _bzip(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content, zipfile.ZIP_BZIP2)


def _bomb(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    large = name.endswith(("/0", "weight_0", "data.pkl"))
    archive.writestr(name, bytes(400 * 2**20) if large else content, zipfile.ZIP_DEFLATED, 1)


def _twice(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content)
    archive.writestr(name, content[::-1])


def _outside(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content)
    archive.writestr(f"../../{Path(name).name}", content)
    archive.writestr("/" + name + CONTROL, content)


def _many(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content)
    if name.endswith("version"):
        for number in range(20_000):
            archive.writestr(f"{name}{number}", b"")


for _name, _change in (
    ("deflated", _deflate),
    ("bzip2", _bzip),
    ("a zip bomb", _bomb),
    ("members twice", _twice),
    ("members outside", _outside),
    ("20,000 members", _many),
    ("members cut short", lambda a, n, c: a.writestr(n, c[: len(c) // 2])),
    ("members of zeros", lambda a, n, c: a.writestr(n, bytes(len(c)))),
):
    _zip_maker(_name, _change)


def _wrong_checksum(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    content = bytearray((corpus.goods / "net.pth").read_bytes())
    place = content.find(b"FB" * 8)  # PyTorch's padding in front of the bytes of a tensor
    place = len(content) // 3 if place < 0 else place + 40
    content[place] ^= 0x40
    return _write(folder / "x.pth", bytes(content))


makes("checkpoint")(_wrong_checksum)


# safetensors.


def _safetensors(header: bytes, data: bytes = bytes(64), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


_SAFETENSORS = {
    "a huge header": _safetensors(b"{}", length=2**63),
    "a header of the whole file": _safetensors(b"{}", length=66),
    "a header that is a list": _safetensors(b"[1, 2]"),
    "a header that is nested": _safetensors(b'{"a":' * 50_000),
    "a large shape": _safetensors(
        b'{"head.weight":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,64]}}'
    ),
    "a shape that overflows": _safetensors(
        b'{"head.weight":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,64]}}'
    ),
    "offsets outside": _safetensors(
        b'{"head.weight":{"dtype":"F32","shape":[16],"data_offsets":[0,6400]}}'
    ),
    "offsets that overlap": _safetensors(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},'
        b'"b":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
    ),
    "an unknown type": _safetensors(
        b'{"head.weight":{"dtype":"F3","shape":[16],"data_offsets":[0,64]}}'
    ),
    "odd names": _safetensors(
        json.dumps({CONTROL: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}).encode()
    ),
    "metadata": _safetensors(json.dumps({"__metadata__": {CONTROL: EXPRESSION}}).encode(), b""),
}


def _safetensors_makers() -> None:
    for name, content in _SAFETENSORS.items():

        def maker(
            corpus: Corpus, folder: Path, rng: random.Random, *, content: bytes = content
        ) -> Path:
            return _write(folder / "x.safetensors", content)

        maker.__name__ = f"safetensors: {name}"
        makes("checkpoint")(maker)


_safetensors_makers()


# JSON.

ODD = (
    *(None, True, -1, 0, 3, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, 5e-324, 0.5),
    *("", CONTROL, EXPRESSION, "../../etc/passwd", "/etc/passwd", "a" * 100_000, "1e999", "\0"),
    *("os:system?command=touch%20pwned", "=cmd|' /C calc'!A0", "\\input{/etc/passwd}", "a|b\nc"),
    *([], {}, [[]], [1, 2, 3], {"expr_str": EXPRESSION}, {"as_expr": {"expr_str": EXPRESSION}}),
)
RAW = ('"\ud800"', "NaN", "-Infinity", "1e999", "[" * 3000 + "]" * 3000, '{"a":1,"a":2}', "0x1", "")


def odd_json(value: Any, rng: random.Random) -> bytes:
    """``value`` as JSON with one to three changes somewhere in it."""
    value = json.loads(json.dumps(value))
    raw = rng.random() < 0.15
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(value, rng)
    if raw:
        _change(value, rng, "@raw@")
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    text = text.replace('"@raw@"', rng.choice(RAW))
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with each of its keys or indices."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        for key in keys:
            yield each, key
            if isinstance(each[key], dict | list):
                waiting.append(each[key])


def _change(value: Any, rng: random.Random, new: Any = None) -> None:
    places = list(_places(value))
    if not places:
        return
    holder, key = rng.choice(places)
    how = "replace" if new is not None else rng.choice(("replace",) * 4 + ("delete", "add", "swap"))
    if how == "replace":
        holder[key] = rng.choice(ODD) if new is None else new
    elif how == "delete":
        del holder[key]
    elif how == "add" and isinstance(holder, dict):
        holder[rng.choice(("as_expr", "extra", CONTROL, "__class__"))] = rng.choice(ODD)
    elif how == "add":
        holder += [holder[key]] * rng.choice((1, 5, 2000))
    else:
        other, place = rng.choice(places)
        with contextlib.suppress(KeyError, IndexError):
            other[place], holder[key] = holder[key], other[place]
        if _holds_itself(value):  # json cannot write it
            holder[key] = None


def _holds_itself(value: Any) -> bool:
    try:
        json.dumps(value)
    except (ValueError, RecursionError):
        return True
    return False


# Texts of words.

WORDS = (
    *("", "-1", "0", "1", "99999999999", "2147483647", "-2147483648", "1e30", "nan", "inf", "1.5"),
    *("-23330=4,1,2,3,4", "0=1000000", "5=1000000000", "6=1000000000", "../../etc/passwd"),
    *(CONTROL, EXPRESSION, "a" * 100_000, "Input", "Convolution", "input", "data", "\0"),
)


def odd_text(content: bytes, rng: random.Random) -> bytes:
    """A text of lines of words with one to three changes."""
    lines = content.decode("latin-1").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        words = lines[at].split(" ")
        how = rng.choice(("word",) * 5 + ("line", "drop", "repeat", "many"))
        if how == "word":
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            lines[at] = " ".join(words)
        elif how == "line":
            lines[at] = " ".join(rng.choice(WORDS) for _ in range(5))
        elif how == "drop":
            lines.pop(at)
            lines = lines or [""]
        else:
            lines[at:at] = [lines[at]] * (1 if how == "repeat" else 3000)
    return "\n".join(lines).encode("utf-8", "replace")


# Random changes of good files.


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _random_checkpoint(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    name = rng.choice(("net.pth", "net.legacy.pth", "net.safetensors"))
    content = (corpus.goods / name).read_bytes()
    path = folder / f"x{Path(name).suffix}"
    if name == "net.pth" and rng.random() < 0.6:  # behind the checksums
        with zipfile.ZipFile(corpus.goods / name) as good:
            pickled = next(good.read(n) for n in good.namelist() if n.endswith("/data.pkl"))
        return _write(path, _checkpoint_zip(corpus, damaged(pickled, rng.getrandbits(32))))
    return _write(path, damaged(content, rng.getrandbits(32)))


def _random_program(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    good = corpus.goods / "net.pt2"
    if rng.random() < 0.2:
        return _write(folder / "x.pt2", damaged(good.read_bytes(), rng.getrandbits(32)))
    with zipfile.ZipFile(good) as archive:
        texts = [name for name in archive.namelist() if name.endswith(".json")]
    models = [name for name in texts if name.endswith("model.json")]
    victim = rng.choice(models if rng.random() < 0.7 else texts)

    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        if name == victim:
            content = odd_json(json.loads(content), rng)
        archive.writestr(name, content)

    return _rezipped(good, folder / "x.pt2", change)


def _random_artifact(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    path = corpus.copy(rng.choice(corpus.artifacts), folder)
    if rng.random() < 0.4:
        _manifest_of(path).unlink()
    elif rng.random() < 0.4:
        manifest = _manifest_of(path)
        manifest.write_bytes(odd_json(json.loads(manifest.read_bytes()), rng))
        if rng.random() < 0.7:
            return path
    _spoil(path, rng)
    return path


def _parts(path: Path) -> tuple[Path, ...]:
    """The files of an artifact or of a saved program."""
    return (path,) if path.suffix == ".pt2" else format_of_file(path).files(path)


def _manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.manifest.json")


def _spoil(path: Path, rng: random.Random) -> None:
    """Change one of the files that an artifact is made of."""
    inside = [each for part in _parts(path) for each in (part, *sorted(part.rglob("*")))]
    victim = rng.choice([each for each in inside if each.is_file()])
    content = victim.read_bytes()
    if victim.suffix == ".json":
        content = odd_json(json.loads(content), rng)
    elif victim.suffix in (".param", ".tnnproto") and rng.random() < 0.8:
        content = odd_text(content, rng)
    elif victim.suffix == ".onnx" and rng.random() < 0.6:
        content = _odd_onnx(content, rng)
    elif rng.random() < 0.3:
        content = _odd_names(content, rng)
    else:
        content = damaged(content, rng.getrandbits(32))
    victim.write_bytes(content)


def _odd_names(content: bytes, rng: random.Random) -> bytes:
    """A name inside a binary file becomes a control sequence of the same length."""
    import re

    names = list(re.finditer(rb"[a-z_]{5,}", content))
    if not names:
        return damaged(content, rng.getrandbits(32))
    chosen = rng.choice(names)
    new = (CONTROL.encode() * 20)[: len(chosen[0])]
    return content[: chosen.start()] + new + content[chosen.end() :]


def _odd_onnx(content: bytes, rng: random.Random) -> bytes:
    """An ONNX model with one to three fields of its messages changed."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_message(model, rng)
    return bytes(model.SerializeToString())


def _change_message(message: Any, rng: random.Random) -> None:
    """Go down to a random field and change it."""
    for _ in range(12):
        fields = [field for field, _ in message.ListFields()]
        if not fields:
            return
        field = rng.choice(fields)
        value = getattr(message, field.name)
        if not field.message_type:
            _change_field(message, field, value, rng)
            return
        message = rng.choice(list(value)) if hasattr(value, "extend") else value


def _change_field(message: Any, field: Any, value: Any, rng: random.Random) -> None:
    repeated = hasattr(value, "extend")
    kind = type(value[0]) if repeated else type(value)
    odd: dict[type, tuple[Any, ...]] = {
        int: (0, -1, 1, 2**31 - 1, -(2**31), 7, 2**62),
        float: (0.0, float("nan"), float("inf"), 1e30),
        str: ("", CONTROL, "../../etc/passwd", "a" * 10_000, "Loop", "logits"),
        bytes: (b"", CONTROL.encode(), b"\xff" * 64),
    }
    new = rng.choice(odd.get(kind, (0,)))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if not repeated:
            setattr(message, field.name, new)
        elif rng.random() < 0.3:
            value.append(new)
        else:
            value[rng.randrange(len(value))] = new


def _random_store(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    lines = (corpus.goods / "store.jsonl").read_bytes().splitlines()
    at = rng.randrange(len(lines))
    lines[at] = (
        odd_json(json.loads(lines[at]), rng)
        if rng.random() < 0.8
        else damaged(lines[at], rng.getrandbits(32))
    )
    return _write(folder / "x.jsonl", b"\n".join(lines) + (b"\n" if rng.random() < 0.9 else b""))


def _random_text(name: str, made: str = "x.txt") -> Maker:
    def maker(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
        content = (corpus.goods / name).read_bytes()
        change = rng.random() < 0.8
        content = odd_text(content, rng) if change else damaged(content, rng.getrandbits(32))
        return _write(folder / made, content)

    maker.__name__ = f"random {name}"
    return maker


def _random_matrix(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    content = (corpus.goods / "matrix.json").read_bytes()
    return _write(folder / "x.json", odd_json(json.loads(content), rng))


def _random_sweep(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """Bytes of a store of sweeps changed anywhere, or a record in it."""
    content = (corpus.goods / "sweep.sqlite").read_bytes()
    if rng.random() < 0.5:
        return _write(folder / "x.sqlite", damaged(content, rng.getrandbits(32)))
    path = _write(folder / "x.sqlite", content)
    table, column = rng.choice((("results", "result"), ("cells", "facts"), ("sweeps", "facts")))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        (text,) = db.execute(f"SELECT {column} FROM {table}").fetchone()
        odd = odd_json(json.loads(text), rng)
        db.execute(f"UPDATE {table} SET {column} = ?", (odd.decode(errors="replace"),))
    return path


def _random_package(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """Something inside a Core ML package is no regular file, or too much."""
    package = corpus.copy("tiny.mlpackage", folder)
    inside = sorted(package.rglob("*"))
    victim = rng.choice(inside)
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    makers: list[Callable[[Path], object]] = [os.mkfifo, _sparse, Path.mkdir, Path.touch]
    links = ["/dev/zero", "/etc", "/etc/passwd", "nowhere", ".", "..", victim.name]
    if rng.random() < 0.4:
        rng.choice(makers)(victim)
    elif rng.random() < 0.8:
        victim.symlink_to(rng.choice(links))
    return package


def _random_prepared(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """The folder of ``mobile-bench prepare-qemu``."""
    made = folder / "prepared"
    made.mkdir()
    facts = {"versions": {"qemu": "7.2", "plugin": "0" * 64, "libc6": "2.36"}}
    place = made / "prepared.json"
    how = rng.randrange(5)
    if how == 0:
        os.mkfifo(place)
    elif how == 1:
        place.symlink_to("/dev/zero")
    else:
        place.write_bytes(odd_json(facts, rng))
    return made


def _random_pictures(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """A folder with one picture or array that is not what its name says."""
    import numpy as np

    made = folder / "pictures"
    made.mkdir()
    name = rng.choice(("a.png", "a.jpg", "a.npy", "a.npz", CONTROL.strip("\r") + ".png"))
    path = made / name
    how = rng.randrange(8)
    if how < 3:
        makers: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, _sparse]
        makers[how](path)
    elif how == 3:
        path.symlink_to(rng.choice(("/dev/zero", "nowhere", path.name)))
    elif how == 4:  # a pickle inside an array
        np.save(made / "a.npy", np.array([_Runs(os.system, (COMMAND,))], dtype=object))
    elif how == 5:
        head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, %d, 32), }" % rng.choice(
            (2**62, 2**30, -1, 0)
        )
        head = head.ljust(117) + b"\n"
        (made / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    else:
        shown = io.BytesIO()
        values = np.full((1, 3, 32, 32), rng.choice((0, 1e30, float("nan"))), np.float32)
        np.savez_compressed(shown, x=values) if path.suffix == ".npz" else np.save(shown, values)
        path.write_bytes(damaged(shown.getvalue(), rng.getrandbits(32)))
    return made


RANDOM: dict[str, Maker] = {
    "artifact": _random_artifact,
    "checkpoint": _random_checkpoint,
    "labels": _random_text("labels.txt"),
    "matrix": _random_matrix,
    "models": _random_text("models.txt"),
    "package": _random_package,
    "pictures": _random_pictures,
    "prepared": _random_prepared,
    "program": _random_program,
    "spec": _random_text("sweep.toml", "x.toml"),
    "store": _random_store,
    "sweep": _random_sweep,
}
KINDS |= {"pictures": [], "prepared": []}


@makes("labels")
def _many_labels(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    return _write(folder / "x.txt", b"".join(b"label %d\n" % (n // 2) for n in range(120_000)))


@makes("labels")
def _odd_labels(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    lines = (f"{CONTROL}{number}\n" for number in range(10))
    return _write(folder / "x.txt", "".join(lines).encode())


@makes("models")
def _code_in_a_list(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    return _write(folder / "x.txt", f"os:system?command={COMMAND.replace(' ', '%20')}\n".encode())


@makes("models")
def _odd_lists(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    return _write(folder / "x.txt", f"emo_1m{CONTROL} 224\n../../x.pt2\n-o\n--force\n".encode())


def _deep_onnx(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """Subgraphs inside each other, deeper than any stack."""
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([], "g", [], [value])
    content = graph.SerializeToString()
    for _ in range(400):  # attribute 5 of a node 1 of a graph, written without recursion
        attribute = b"\x0a\x01g\xa0\x01\x05\x32" + _varint(len(content)) + content
        node = b"\x22\x02If\x2a" + _varint(len(attribute)) + attribute
        content = b"\x0a" + _varint(len(node)) + node + b"\x12\x01g"
    head = onnx.ModelProto(ir_version=8).SerializeToString()
    return _write(folder / "x.onnx", head + b"\x3a" + _varint(len(content)) + content)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def _external_onnx(corpus: Corpus, folder: Path, rng: random.Random) -> Path:
    """Weights that are said to lie in a file outside the folder."""
    import onnx

    model = onnx.load(corpus.goods / "tiny.onnx")
    for tensor in model.graph.initializer:
        place = tensor.external_data.add()
        place.key, place.value = (
            "location",
            rng.choice(("/etc/passwd", "../../secret", "/dev/zero")),
        )
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
    onnx.save(model, folder / "x.onnx")
    return folder / "x.onnx"


makes("artifact")(_deep_onnx)
makes("artifact")(_external_onnx)
