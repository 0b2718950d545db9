"""The plugin on a program whose counts are known, and how its file is read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mobile_export.bench.arm.counts import COUNTERS, ArmCount, read_counts
from mobile_export.bench.arm.prepare import compile_plugin
from mobile_export.errors import RunnerError

PROGRAM = Path(__file__).parents[1] / "data" / "known_counts.S"
CROSS = "aarch64-linux-gnu-gcc"
TOOLS = {"qemu-aarch64": "qemu-user", "gcc": "gcc", CROSS: "gcc-aarch64-linux-gnu"}
MISSING = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]

needs_qemu = pytest.mark.skipif(bool(MISSING), reason=f"apt-get install {' '.join(MISSING)}")


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ArmCount], str]:
    """What the plugin counted between the marks of `PROGRAM`, and its whole file."""
    folder = tmp_path_factory.mktemp("counting")
    compile_plugin(folder / "insncount.so")
    program = folder / "known_counts"
    subprocess.run([CROSS, "-nostdlib", "-static", "-o", program, PROGRAM], check=True)
    plugin = f"{folder / 'insncount.so'},out={folder / 'counts'}"
    subprocess.run(["qemu-aarch64", "-plugin", plugin, "-cpu", "cortex-a76", program], check=True)
    text = (folder / "counts").read_text()
    return read_counts(text.splitlines(keepends=True)), text


@needs_qemu
def test_instructions_and_their_classes(counts: tuple[list[ArmCount], str]) -> None:
    loop, straight = counts[0][:2]
    assert (loop.instructions, loop.branches) == (1 + 2 * 1000 + 5, 1001)
    assert (loop.vector, loop.fma, loop.loads, loop.stores) == (0, 0, 0, 0)
    assert (straight.instructions, straight.branches) == (9 + 5, 1)
    assert (straight.vector, straight.fma) == (4, 3)


@needs_qemu
def test_memory_traffic(counts: tuple[list[ArmCount], str]) -> None:
    straight = counts[0][1]
    # The address of the array is a literal of 8 bytes behind the code; the pair has 2 x 16.
    assert (straight.load_bytes, straight.store_bytes) == (8 + 32, 16 + 1 + 8)
    assert straight.l1_misses == 3  # the literal, and two lines of the array


@needs_qemu
def test_the_caches(counts: tuple[list[ArmCount], str]) -> None:
    new, in_l2, longer, in_l3, _, in_l1 = counts[0][2:]
    lines, more_lines = 0x40000 // 64, 0x100000 // 64
    # Two lines of the array were used before; the literal of its address is another line, which
    # every walk that is longer than a cache pushes out of it.
    assert new.l1_misses == new.l2_misses == new.l3_misses == lines - 2
    assert (in_l2.l1_misses, in_l2.l2_misses, in_l2.l3_misses) == (lines + 1, 0, 0)
    assert longer.l3_misses == more_lines - lines
    assert in_l3.l1_misses == in_l3.l2_misses == more_lines + 1
    assert in_l3.l3_misses == 0
    assert (in_l1.loads, in_l1.l1_misses) == (0x4000 // 64 + 1, 0)


@needs_qemu
def test_the_file_is_complete(counts: tuple[list[ArmCount], str]) -> None:
    lines = counts[1].splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [f"mark={tag}" for tag in range(16)]
    assert lines[-1] == "end"


@needs_qemu
def test_the_plugin_compiles_without_a_warning(tmp_path: Path) -> None:
    source = Path(compile_plugin.__code__.co_filename).parents[1] / "native" / "insncount.c"
    flags = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-fsyntax-only"]
    subprocess.run(["gcc", *flags, source], check=True)


def line(mark: int, value: int) -> str:
    return f"mark={mark} " + " ".join(f"{name}={value}" for name in COUNTERS) + "\n"


def test_counts_are_differences_of_pairs_and_a_torn_last_line_is_left_out() -> None:
    lines = [line(0, 5), line(1, 12), line(2, 20), line(3, 21), line(4, 30), "mark=5 instr"]
    (first, second) = read_counts(lines)
    assert set(first.to_dict().values()) == {7}
    assert set(second.to_dict().values()) == {1}
    assert read_counts([]) == []


@pytest.mark.parametrize("garbage", ["\n", "mark=x instructions=1\n", "Segmentation fault\n"])
def test_a_line_that_is_not_the_plugins(garbage: str) -> None:
    with pytest.raises(RunnerError, match="line that is not its own"):
        read_counts([line(0, 1), garbage])


def test_threads_cannot_be_counted() -> None:
    with pytest.raises(RunnerError, match="second thread"):
        read_counts([line(0, 1), "error=threads\n"])
