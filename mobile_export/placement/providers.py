"""Which nodes of an ONNX file onnxruntime's providers for phones would take, in a child process.

    python -m mobile_export.placement.providers nnapi|coreml PATH

Prints one JSON object, or {"problem": sentence}.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..system.children import answering

__all__ = ["main"]


def _facts(name: str, path: Path) -> dict[str, Any]:
    import onnxruntime

    from ..system.onnxruntime_private import partitions_of

    return {
        "said_by": f"onnxruntime {onnxruntime.__version__}",
        **asdict(partitions_of(path, name)),
    }


def main() -> None:
    """Entry point of the child."""
    name, path = sys.argv[1:]
    with answering() as answer:
        try:
            found = _facts(name, Path(path))
        except Exception as error:  # noqa: BLE001 (a reader may raise anything; the file is the cause)
            found = {"problem": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        json.dump(found, answer)


if __name__ == "__main__":
    main()
