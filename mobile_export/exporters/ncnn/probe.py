"""Runs an ncnn model once, in a process of its own: ncnn may crash on a file that it does not like.

    python -m mobile_export.exporters.ncnn.probe PARAM BIN INPUT CxHxW OUTPUT...

The options are those of the command line's JSON on stdin: a list of {"param": text, "options": {}}.
Exit code 0 when every one of them loads and gives all outputs.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    import ncnn
    import numpy as np

    weights, name, shape, *outputs = sys.argv[1:]
    image = np.zeros([int(n) for n in shape.split("x")], dtype=np.float32)
    for run in json.load(sys.stdin):
        net = ncnn.Net()
        for option, value in run["options"].items():
            setattr(net.opt, option, value)
        if net.load_param_mem(run["param"]) or net.load_model(weights):
            return 1
        extractor = net.create_extractor()
        extractor.input(name, ncnn.Mat(image))
        for output in outputs:
            if extractor.extract(output)[0]:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
