"""Run command lines on hostile files and find what must never happen.

    python -m tests.hostile.sandbox GOODS SCRATCH SEED COUNT [FIRST]

runs cases FIRST to COUNT, each in a process forked from this one, which has imported what they
need. Every fault and, now and then, how far it is go to stderr; one JSON object with all faults to
stdout. Every case has a folder of its own: the hostile file, an empty folder to write to, a home
and a temporary folder. What is looked at is `faults`.

Time is processor time, of a command and of all that it started, so that a machine that is busy
with something else changes nothing. A command that waits for what never comes uses none; it is
ended, too.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.commands import BENCH, SLOTS, Slot
from tests.hostile.corpus import CANARY, KINDS, Corpus

__all__ = ["Case", "Ended", "cases", "faults", "run_case"]

SECONDS = 60.0
"""Of processor time that one command may take, with what it starts"""
PATIENCE = 90.0
"""Seconds of wall time without a tick of processor time, after which a command hangs"""
_LONGEST_PAUSE = 0.5
_SHOWN_EVERY = 50
MEMORY = 3 * 2**20
"""KiB that a command may hold, libraries included"""
NET = """
from tests.conftest import make_source

def build():
    return make_source().module
"""


@dataclass(frozen=True)
class Case:
    """One hostile file in one place of one command line."""

    slot: Slot
    kind: str
    seed: int


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        memory: KiB, at most.
        changed: names in the folder of the case that are new, gone or changed, outside of ``out``.
        left: names in ``out``.
    """

    code: int
    output: bytes
    messages: bytes
    seconds: float
    memory: int
    words: list[str]
    made: str
    canary: bool = False
    changed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    untrue: str = ""


def cases(seed: int, count: int) -> Iterator[Case]:
    """``count`` cases: every slot in turn, with the files of its kinds in the order of the corpus.

    A seed of 0 begins with what was thought of by hand.
    """
    rng = random.Random(seed)
    deck = [slot for slot in SLOTS for _ in range(1 if slot.slow else 5)]
    rng.shuffle(deck)
    asked: Counter[str] = Counter()
    for number in range(count):
        slot = deck[number % len(deck)]
        kind = rng.choice([kind for kind in slot.kinds if kind in KINDS])
        asked[kind] += 1
        by_hand = len(KINDS[kind])
        chosen = rng.randrange(by_hand + 1) if rng.random() < 0.4 else by_hand
        yield Case(slot, kind, chosen if chosen < by_hand else by_hand + rng.getrandbits(32))


def run_case(case: Case, corpus: Corpus, scratch: Path) -> Ended:
    """Make the file, run the command, and say how it ended."""
    box = Path(tempfile.mkdtemp(prefix="case-", dir=scratch))
    try:
        for name in ("in", "here", "home", "out", "tmp"):
            (box / name).mkdir()
        (box / "here" / "hostile_net.py").write_text(NET)
        path, made = corpus.make(case.kind, case.seed, box / "in")
        words = [
            word.format(path, out=box / "out", good=corpus.goods)
            for word in case.slot.words.split()
        ]
        before = _seen(box)
        ended = _run(case.slot.program, words, box, scratch)
        after = _seen(box)
        ended.made = f"{case.kind} {case.seed}: {made}"
        ended.changed = sorted(
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        )
        ended.canary = (box / "canary").exists() or any("pwned" in n for n in ended.changed)
        out = box / "out"
        ended.left = sorted(each.name for each in out.iterdir()) if out.is_dir() else []
        if (case.slot.command, case.slot.parameter, ended.code) == ("verify", "file", 0):
            ended.untrue = _in_child(lambda: untruth(Path(path)))
        return ended
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _seen(box: Path) -> dict[str, tuple[int, ...]]:
    """Everything in the folder of a case but its output folder, with what tells a change."""
    found = {}
    waiting = [box]
    while waiting:
        for each in os.scandir(waiting.pop()):
            name = os.path.relpath(each.path, box)
            if name == "out":
                continue
            facts = each.stat(follow_symlinks=False)
            is_folder = each.is_dir(follow_symlinks=False)
            times = () if is_folder else (facts.st_size, facts.st_mtime_ns)
            found[name] = (facts.st_mode, facts.st_ino, *times)
            if is_folder:
                waiting.append(Path(each.path))
    return found


def _run(program: str, words: list[str], box: Path, scratch: Path) -> Ended:
    with tempfile.TemporaryFile(dir=scratch) as out, tempfile.TemporaryFile(dir=scratch) as err:
        child = os.fork()
        if child == 0:
            _become(program, words, box, out.fileno(), err.fileno())
        code, use, hung = _wait(child)
        seconds = math.inf if hung else use.ru_utime + use.ru_stime
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
        return Ended(code, texts[0], texts[1], seconds, use.ru_maxrss, words, "")


def _wait(child: int) -> tuple[int, Any, bool]:
    """Exit code, what was used, and whether it had to be ended: too much, or nothing at all."""
    used, since, pause, ended = 0.0, time.monotonic(), 0.002, False
    while True:
        done, status, use = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), use, ended
        if pause == _LONGEST_PAUSE and not ended:
            seconds, memory = _use_of_family(child)
            if seconds > used:
                used, since = seconds, time.monotonic()
            if time.monotonic() > since + PATIENCE or used > 2 * SECONDS or memory > 2 * MEMORY:
                ended = True
                _kill_family(child)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.2)


def _family(first: int) -> Iterator[tuple[int, list[str]]]:
    """A process and all that it started, each with its line of /proc from the state on."""
    facts, children = {}, defaultdict(list)
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (each / "stat").read_text().rpartition(")")[2].split()
            facts[int(each.name)] = line
            children[int(line[1])].append(int(each.name))
    waiting = [first]
    while waiting:
        process = waiting.pop()
        waiting += children[process]
        if process in facts:
            yield process, facts[process]


def _use_of_family(first: int) -> tuple[float, int]:
    """Seconds of processor time that were taken, and KiB that the largest process holds."""
    ticks, pages = 0, 0
    for _, facts in _family(first):
        ticks += sum(int(facts[at]) for at in (11, 12, 13, 14))
        pages = max(pages, int(facts[21]))
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _kill_family(first: int) -> None:
    for process, _ in list(_family(first)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _become(program: str, words: list[str], box: Path, out: int, err: int) -> None:
    """This forked process becomes the command."""
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(box / "here")
        os.environ.update(HOME=str(box / "home"), TMPDIR=str(box / "tmp"), PATH="/nowhere")
        os.environ[CANARY] = str(box / "canary")
        os.environ["MPLCONFIGDIR"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(
            box.parent / "caches"
        )
        tempfile.tempdir = None
        sys.argv = [program, *words]
        module = "mobile_export.bench.cli.main" if program == BENCH else "mobile_export.cli.main"
        try:
            sys.modules[module].main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # what a shell would see
        traceback.print_exc()
    finally:
        os._exit(code)


def forked_module(module: str, arguments: list[str], *, limits: Any = None, text: str = "") -> Any:
    """`mobile_export.system.children.run_module` in a fork of this process: seconds less."""
    from mobile_export.system.children import Ended as ChildEnded

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.argv = [module, *arguments]
                importlib.import_module(module).main()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        lines = []
        for stream in (out, err):
            stream.seek(0)
            lines.append(stream.read())
        said = [line.strip() for line in lines[1].decode(errors="replace").splitlines()]
        last = next((line for line in reversed(said) if line), "")
        return ChildEnded(os.waitstatus_to_exitcode(status), lines[0], last[:300])


def untruth(path: Path) -> str:
    """Why a file that passed is not the network, on an input that was not looked at; or ""."""
    import torch

    from mobile_export.api import _asked_precision
    from mobile_export.exporters.interface import runtime_of
    from mobile_export.exporters.table import format_of_file
    from mobile_export.graph.specs import OutputSpec
    from mobile_export.parity.samples import Sample
    from tests.conftest import make_source

    row = format_of_file(path)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(99)) * 2 - 1
    with torch.no_grad():
        exact = make_source().module.double()(image.double()).numpy()
    facts = runtime_of(row).describe(path)
    names = tuple(OutputSpec(str(each["name"]), (1, 10)) for each in facts["outputs"])
    got = runtime_of(row).load(path, names).run(Sample("other", image, image))[0]
    error = float(abs(got.reshape(exact.shape) - exact).max() / (exact.max() - exact.min()))
    asked, _ = _asked_precision(row, path, None, facts)
    allowed = 3 * asked.tolerance.limit
    return "" if error <= allowed else f"passed, but the error is {error:.1e}"


def _in_child(call: Any) -> str:
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            try:
                os.write(answer.fileno(), call().encode())
            except BaseException as error:
                os.write(answer.fileno(), repr(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        return answer.read().decode()


_ALLOWED_CHANGES = {
    **{("mobile-export", slot.command, "out_dir"): ("in/",) for slot in SLOTS},
    ("mobile-export", "prepare", "file"): ("in/",),
    ("mobile-export", "evaluate", "out"): ("in/x.jsonl",),
    ("mobile-export", "app android", "out"): ("in/",),
    ("mobile-export", "app ios", "out"): ("in/",),
    ("mobile-export", "matrix", "out"): ("in/",),
    ("mobile-export", "sweep run", "store"): ("in/x.sqlite",),
    ("mobile-bench", "run", "store"): ("in/x.jsonl",),
    ("mobile-bench", "queue", "store"): ("in/x.jsonl",),
    ("mobile-bench", "import", "store"): ("in/x.jsonl",),
    ("mobile-bench", "table", "plot"): ("in/",),
    ("mobile-bench", "table", "out"): ("in/x.txt",),
}
"""Where the hostile file stands in the place of the output."""


def faults(case: Case, ended: Ended) -> list[str]:
    """What must never happen, whatever the file: one sentence each."""
    found = []
    said = ended.output + ended.messages
    compares = case.slot.command == "compare" or case.slot.command.startswith("sweep ")
    allowed = (0, 1, 2, 3, 130) if compares else (0, 1, 2, 130)
    if ended.code not in allowed:
        found.append(f"exit code {ended.code}")
    if b"Traceback (most recent call last)" in said:
        found.append("a traceback")
    if b"itself failed" in said or b"a bug" in said:
        found.append("a bug of ours")
    if ended.canary:
        found.append("something was executed")
    if ended.untrue:
        found.append(ended.untrue)
    if ended.seconds > SECONDS:
        found.append(f"it took {ended.seconds:.0f} seconds")
    if ended.memory > MEMORY:
        found.append(f"it took {ended.memory // 1024} MiB")
    found += _wrong_messages(case, ended)
    found += _wrong_files(case, ended)
    return found


def _wrong_messages(case: Case, ended: Ended) -> Iterator[str]:
    try:
        said = (ended.output + ended.messages).decode()
    except UnicodeDecodeError:
        yield "the output is not UTF-8"
        return
    raw = {
        character
        for character in said
        if not (
            character.isprintable() or character in "\n" or unicodedata.category(character) == "Zs"
        )
    }
    if "--as csv" in case.slot.words:
        raw.discard("\r")
    if raw:
        yield f"raw control characters {sorted(map(ascii, raw))}"
    lines = ended.messages.decode(errors="replace").splitlines()
    errors = [line for line in lines if line.lower().startswith("error:")]
    many = case.slot.command == "all"  # one for each format
    if ended.code == 2 and (not errors or (len(errors) > 1 and not many)):
        yield f"{len(errors)} messages"
    if ended.code == 0 and errors:
        yield "an error, and exit code 0"
    if "--json" in case.slot.words and ended.output:
        try:
            json.loads(ended.output)
        except ValueError:
            yield "stdout is not JSON"
    if "--json" in case.slot.words and not ended.output:
        yield "no JSON on stdout"


def _wrong_files(case: Case, ended: Ended) -> Iterator[str]:
    allowed = _ALLOWED_CHANGES.get(case.slot.key, ())
    ours = [name for name in ended.changed if "__pycache__" not in name]
    outside = [name for name in ours if not name.startswith(allowed or "?")]
    if outside:
        yield f"changed outside of the target: {outside[:5]}"
    if any(name.startswith(".") for name in ended.left):
        yield f"hidden files are left: {ended.left}"
    if ended.code == 2 and ended.left and case.slot.command not in ("all", "matrix", "run"):
        yield f"an error, and files: {ended.left}"
    bare = [
        name
        for name in ended.left
        if name.endswith((".onnx", ".mlpackage", ".tflite", ".param", ".tnnproto", ".pt2"))
        and f"{name}.manifest.json" not in ended.left
    ]
    if bare:
        yield f"files without a manifest: {bare}"


def main() -> None:
    """Entry point; see the module."""
    goods, scratch, seed, count, *first = sys.argv[1:]
    _import_everything()
    gc.freeze()  # what was imported stays in pages that parent and children share
    corpus = Corpus(Path(goods))
    start = time.monotonic()
    wrong, codes, slowest = [], Counter[str](), (0.0, "")
    for number, case in enumerate(cases(int(seed), int(count))):
        if number < int(first[0] if first else 0):
            continue
        if number % _SHOWN_EVERY == 0 and number:
            minutes = (time.monotonic() - start) / 60
            said = f"{number} of {count} cases, {minutes:.0f} min, {len(wrong)} faults"
            print(said, file=sys.stderr, flush=True)
        ended = run_case(case, corpus, Path(scratch))
        codes[str(ended.code)] += 1
        slowest = max(slowest, (ended.seconds, ended.made))
        what = faults(case, ended)
        if what:
            tail = (ended.output[-300:] + ended.messages[-1200:]).decode(errors="replace")
            words = f"{case.slot.program} {case.slot.words}"
            facts = {"case": number, "made": ended.made, "words": words, "faults": what}
            wrong.append({**facts, "code": ended.code, "said": ascii(tail)})
            print(json.dumps(wrong[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"wrong": wrong, "codes": codes, "slowest": slowest}))


def _import_everything() -> None:
    """What commands import, once, without starting a thread of theirs."""
    from mobile_export.exporters import apart
    from mobile_export.exporters.interface import runtime_of, writer_of
    from mobile_export.exporters.table import FORMATS

    names = (
        "mobile_export.bench.cli.main", "mobile_export.bench.tables", "mobile_export.bench.measure",
        "mobile_export.bench.compare", "mobile_export.bench.plot", "mobile_export.bench.report",
        "mobile_export.cli.main", "mobile_export.cli.console", "mobile_export.pipeline",
        "mobile_export.sources.pt2.load", "mobile_export.sources.factory", "torch.export",
        "onnx", "onnxruntime", "ncnn", "ai_edge_litert.interpreter", "tests.conftest",
        "torch._export.passes", "rich.progress",
    )  # fmt: skip
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for row in FORMATS:
        with contextlib.suppress(ImportError):
            runtime_of(row)
            writer_of(row)
    apart.run_module = forked_module


if __name__ == "__main__":
    main()
