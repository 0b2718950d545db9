"""ONNX files, executed by onnxruntime on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArtifactError, ExecutionError
from ..targets import Tensor

if TYPE_CHECKING:
    import onnx

    from ..inputs import Sample
    from ..specs import OutputSpec
    from ..targets import Session

__all__ = ["describe", "load"]


class _OnnxSession:
    emulated = False
    others: tuple[Session, ...] = ()
    takes_pixels = False
    activation = None

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        import onnxruntime

        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.path = path
        self.session = _open(path)
        self.input = self.session.get_inputs()[0].name
        names = [output.name for output in self.session.get_outputs()]
        wanted = [output.name for output in outputs]
        self.outputs = wanted if set(wanted) <= set(names) else names
        self.precision = "fp32"

    def _feed(self, sample: Sample) -> dict[str, np.ndarray]:
        return {self.input: sample.image.float().numpy()}

    def run(self, sample: Sample) -> list[np.ndarray]:
        try:
            return list(self.session.run(self.outputs, self._feed(sample)))
        except Exception as error:  # onnxruntime raises its own pybind types
            raise ExecutionError(f"onnxruntime cannot run {self.path}: {error}") from error

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        import onnx

        model = _read(self.path)
        made = {name: node for node in model.graph.node for name in node.output if name}
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in made if n not in known)
        session = _open(model.SerializeToString(), optimise=False)
        values = session.run(list(made), self._feed(sample))
        for (name, node), value in zip(made.items(), values, strict=True):
            module = next((p.value for p in node.metadata_props if p.key == "module"), None)
            yield Tensor(name, tuple(node.input), value, module)


def _open(model: Path | bytes, *, optimise: bool = True) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own pybind types
        name = "the file" if isinstance(model, bytes) else str(model)
        raise ArtifactError(
            f"onnxruntime cannot load {name}: {error}", hint="Export it again."
        ) from error


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _OnnxSession:
    """Load an ONNX file with onnxruntime."""
    return _OnnxSession(path, outputs)


def _read(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not an ONNX file: {error}", hint="Export it again."
        ) from error
    if not model.opset_import:  # an empty file is an empty message
        raise ArtifactError(f"{path} is not an ONNX file: it is empty.", hint="Export it again.")
    return model


def _value(info: onnx.ValueInfoProto) -> dict[str, Any]:
    import onnx

    tensor = info.type.tensor_type
    return {
        "name": info.name,
        "shape": [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim],
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    }


def describe(path: Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters, precision and metadata of an ONNX file."""
    import onnx

    model = _read(path)
    weights = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    ]
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    initializers = {tensor.name for tensor in model.graph.initializer}
    return {
        "inputs": [_value(v) for v in model.graph.input if v.name not in initializers],
        "outputs": [_value(v) for v in model.graph.output],
        "ops": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        "parameters": sum(int(np.prod(tensor.dims)) for tensor in weights),
        "precision": "fp16" if half else "fp32",
        "version": f"IR {model.ir_version}, opset {model.opset_import[0].version}",
        "metadata": {
            entry.key: entry.value for entry in model.metadata_props if entry.key != "labels"
        },
    }
