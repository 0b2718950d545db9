"""Runs inside the guest: one runtime, one file, one thread; counts are taken around its inferences.

    python worker.py RUNTIME PRECISION FILE [COMPANION]

It writes one JSON object a line to stdout: first ``{"version": …}`` once the file is loaded, then one
answer per command. Commands are JSON lines on stdin: ``{"outputs": "OUT.npz", "image": "IN.npy"}`` runs
once and stores every output under its name; ``{"count": 3}`` runs three times between marks.

The guest has Python 3.11, NumPy and the runtimes, not this package: nothing of it is imported here.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__: list[str] = []

MARK = 0x4D420001
"""The request of ``prctl`` that ``native/insncount.c`` takes for a mark."""

Engine = tuple[str, Callable[[np.ndarray], Callable[[], dict[str, np.ndarray]]]]
"""Version, and a function that binds an image (1, C, H, W) and gives the inference."""


def onnxruntime(precision: str, path: str) -> Engine:
    """The file's own precision; one thread, no others for operators side by side."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    name = session.get_inputs()[0].name

    def bind(image: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
        feed = {name: image}
        return lambda: dict(zip(names, session.run(names, feed), strict=True))

    return f"onnxruntime {ort.__version__}", bind


def litert(precision: str, path: str) -> Engine:
    """XNNPACK, LiteRT's default; the image is turned to NHWC when the file wants that."""
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    given = interpreter.get_output_details()

    def bind(image: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
        fits = tuple(wanted["shape"]) == image.shape
        interpreter.set_tensor(wanted["index"], image if fits else image.transpose(0, 2, 3, 1))

        def infer() -> dict[str, np.ndarray]:
            interpreter.invoke()
            return {one["name"]: interpreter.get_tensor(one["index"]) for one in given}

        return infer

    return f"LiteRT {version('ai-edge-litert')}", bind


def ncnn(precision: str, param: str, binary: str) -> Engine:
    """Half precision only when asked for: ncnn's own default would use it wherever it can."""
    import ncnn as library

    net = library.Net()
    net.opt.num_threads = 1
    half = precision == "fp16"
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.opt.use_bf16_storage = False
    if net.load_param(param) != 0 or net.load_model(binary) != 0:
        raise RuntimeError(f"ncnn cannot load {param}")
    (name,) = net.input_names()

    def bind(image: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
        mat = library.Mat(np.ascontiguousarray(image[0]))

        def infer() -> dict[str, np.ndarray]:
            extractor = net.create_extractor()
            extractor.input(name, mat)
            return {out: np.array(extractor.extract(out)[1]) for out in net.output_names()}

        return infer

    return f"ncnn {library.__version__}", bind


ENGINES = {"onnxruntime": onnxruntime, "litert": litert, "ncnn": ncnn}


def marks() -> Callable[[], None]:
    """A function that makes the next mark: 0, 1, 2, …"""
    prctl = ctypes.CDLL(None).prctl
    tags: Iterator[int] = iter(range(1 << 30))
    return lambda: prctl(MARK, ctypes.c_ulong(next(tags)))


def main() -> None:
    """Load, then answer commands until stdin ends."""
    runtime, precision, *files = sys.argv[1:]
    version, bind = ENGINES[runtime](precision, *files)
    mark = marks()
    gc.disable()
    answer({"version": version})
    infer: Callable[[], dict[str, np.ndarray]] | None = None
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "outputs" in command:
            infer = bind(np.load(command["image"]))
            np.savez(command["outputs"], **infer())
        elif infer is not None:
            for _ in range(command["count"]):
                mark()
                infer()
                mark()
        answer({"done": sorted(command)})


def answer(message: dict[str, Any]) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
