"""How much does the tool cost over a bare script? Ratios in one run, interleaved.

    python benchmarks/command.py [--rounds 5]

Three aims (whole processes, one after the other, ours and theirs in turn):

- ``mobile-export --help`` against ``python -c "import typer"``: at most 2x;
- ``mobile-export onnx emo_2m`` against a script that builds the same model and calls
  torch.onnx.export and onnxsim: everything but parity at most 1.15x, the whole command at most 2x,
  peak memory at most 1.3x.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import torch, onnx, onnxsim
from mobile_export.models import table
model = table.get("emo_2m").build().eval()
program = torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), verbose=False)
simplified, same = onnxsim.simplify(program.model_proto)
assert same
onnx.save(simplified, "bare.onnx")
"""


def run(words: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall seconds, peak memory in MB and stdout of one process."""
    start = time.perf_counter()
    child = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    output = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{words} failed with exit code {child.returncode}")
    return wall, usage.ru_maxrss / (1 if sys.platform == "darwin" else 1000), output


def show(title: str, ratios: list[float], aim: float) -> None:
    """One line: median, range, aim."""
    median = statistics.median(ratios)
    verdict = "reached" if median <= aim else "MISSED"
    print(f"{title:48} {median:5.2f}  [{min(ratios):.2f}, {max(ratios):.2f}]  aim {aim}: {verdict}")


def main() -> None:
    """Run the rounds and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    tool = str(Path(sys.executable).with_name("mobile-export"))
    helps, prepares, wholes, memories = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turn in range(rounds + 1):
            ours, _, _ = run([tool, "--help"], folder)
            theirs, _, _ = run([sys.executable, "-c", "import typer"], folder)
            command = [tool, "onnx", "emo_2m", "--force", "--json"]
            wall, memory, output = run(command, folder)
            bare_wall, bare_memory, _ = run([sys.executable, "-c", BARE], folder)
            if turn == 0:  # warms the file cache
                continue
            seconds = json.loads(output)["artifacts"][0]["seconds"]
            stages = wall - seconds["parity"]  # imports included, as in the bare script
            helps.append(ours / theirs)
            prepares.append(stages / bare_wall)
            wholes.append(wall / bare_wall)
            memories.append(memory / bare_memory)
            print(
                f"round {turn}: ours {wall:.1f} s ({stages:.1f} s before parity), {memory:.0f} MB; "
                f"bare {bare_wall:.1f} s, {bare_memory:.0f} MB",
                file=sys.stderr,
            )
    print(f"{'ratio ours / bare':48} median  [range of {rounds}]")
    show("--help / import typer", helps, 2.0)
    show("load + passes + export / bare script", prepares, 1.15)
    show("whole command with parity / bare script", wholes, 2.0)
    show("peak memory / bare script", memories, 1.3)


if __name__ == "__main__":
    main()
