"""The command line ``mobile-bench``: it cannot measure yet and says what is coming."""

from __future__ import annotations

import sys

__all__ = ["main"]

_TEXT = """\
mobile-bench will time exported files on Android phones (adb), ARM boards (ssh), iPhones and this
host, and lay the latencies out beside the published ones. This version cannot measure anything yet.

Until then, time a file with the vendor's own tool: onnxruntime_perf_test, LiteRT's benchmark_model,
or Xcode's performance report of a Core ML package.
"""


def main() -> None:
    """Say what is coming; exit code 2 unless asked for help, because nothing was timed."""
    asked_for_help = sys.argv[1:] in ([], ["-h"], ["--help"])
    (sys.stdout if asked_for_help else sys.stderr).write(_TEXT)
    sys.exit(0 if asked_for_help else 2)
