"""Runs an ncnn model once, in a process of its own: ncnn may crash on a file that it does not like.

    python -m mobile_export.exporters.ncnn.probe BIN

On stdin is JSON: {"inputs": {name: shape}, "outputs": [name], "runs": [{"param": text, "options":
{}}]}.
Exit code 0 when every one of them loads and gives all outputs.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    import ncnn
    import numpy as np

    (weights,) = sys.argv[1:]
    job = json.load(sys.stdin)
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in job["inputs"].items()}
    for run in job["runs"]:
        net = ncnn.Net()
        for option, value in run["options"].items():
            setattr(net.opt, option, value)
        if net.load_param_mem(run["param"]) or net.load_model(weights):
            return 1
        extractor = net.create_extractor()
        for name, array in arrays.items():
            extractor.input(name, ncnn.Mat(array))
        for output in job["outputs"]:
            if extractor.extract(output)[0]:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
