"""ONNX files, executed by onnxruntime on the CPU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts.damage import reading
from ...detection import Detections, FileOutput, Suppression
from ...detection.contract import BOXES, CORNERS, SCORES
from ...errors import ArtifactError, ExecutionError
from ...graph.specs import PIXELS
from ...parity.names import names_of_json
from ...parity.session import FileTensor, IntegerTensor, Session, Tensor
from ..processing import added_activation
from .dynamic import integer_scales
from .integers import as_planned

if TYPE_CHECKING:
    import onnx

    from ...graph.program import Program
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["LABELS_KEY", "class_names_in", "describe", "integers_in", "load"]

LABELS_KEY = "labels"
"""Metadata: the names of the classes, a list as JSON."""

_SUPPRESSION = "NonMaxSuppression"

_WHOLE_PRODUCTS = "session.x64quantprecision"
"""onnxruntime's switch that keeps products of uint8 and int8 from saturating (see `integers`)."""

_STEPS = MappingProxyType({"sigmoid": 2.0**-22})
"""onnxruntime's Sigmoid is a quotient of polynomials plus 1/2 (`MlasComputeLogistic`): its error is
that of numbers about 1/2, whatever the result (1.7e-7 at most, measured from -18 to 18)."""


class _OnnxSession(Session):
    steps = _STEPS

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        import onnxruntime

        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.path = path
        self.names = _class_names(_read(path))
        self.session = _open(path)
        self.inputs = {each.name: _file_tensor(each).dtype for each in self.session.get_inputs()}
        self.takes_pixels = PIXELS in self.inputs
        names = [output.name for output in self.session.get_outputs()]
        wanted = [output.name for output in outputs]
        self.outputs = wanted if set(wanted) <= set(names) else names
        self.precision = "fp32"
        self.activation = added_activation(names, outputs)
        suppressing = {BOXES, "classes", SCORES, "count"} == set(names)
        with reading(path, "ONNX"):
            self.detector = _OnnxDetector(self, path, tuple(wanted)) if suppressing else None

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        return tuple(map(_file_tensor, inputs)), tuple(map(_file_tensor, outputs))

    def feed(self, sample: Sample) -> dict[str, np.ndarray]:
        given = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
        return {name: each.numpy().astype(self.inputs[name]) for name, each in given.items()}

    def run(self, sample: Sample) -> list[np.ndarray]:
        if self.detector is not None:
            return self.detector.detect(sample)[0]
        return self.execute(self.session, self.outputs, sample)

    def execute(self, session: Any, outputs: Sequence[str], sample: Sample) -> list[np.ndarray]:
        try:
            return list(session.run(outputs, self.feed(sample)))
        except Exception as error:  # onnxruntime raises its own pybind types
            raise ExecutionError(f"onnxruntime cannot run {self.path}: {error}") from error

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        import onnx

        model = _read(self.path)
        made = {name: node for node in _network(model) for name in node.output if name}
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in made if n not in known)
        session = _open(model.SerializeToString(), optimise=False)
        values = session.run(list(made), self.feed(sample))
        for (name, node), value in zip(made.items(), values, strict=True):
            module = next((p.value for p in node.metadata_props if p.key == "module"), None)
            yield Tensor(name, tuple(node.input), value, module, node.op_type)

    def class_names(self) -> dict[str, tuple[str, ...]]:
        return self.names

    def keeps_names(self, program: Program, names: Sequence[str]) -> bool:
        return True

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        from onnx.numpy_helper import to_array

        model = _read(self.path)
        yield from ((tensor.name, to_array(tensor)) for tensor in model.graph.initializer)
        for node in model.graph.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "value":
                    yield node.output[0], to_array(attribute.t)

    def stored_integers(self) -> Iterator[IntegerTensor]:
        return integers_in(self.path)

    def looked_up(self) -> Iterator[np.ndarray]:
        return _widened(_read(self.path))

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        from onnx.numpy_helper import to_array

        stored = {tensor.name: tensor for tensor in _read(self.path).graph.initializer}
        for tensor in self.tensors(sample):
            if tensor.op == "QuantizeLinear":
                scale, zero = (to_array(stored[name]).reshape(-1) for name in tensor.inputs[1:3])
                value, zero_point = as_planned(tensor.value, int(zero[0]))
                yield IntegerTensor(tensor.name, value, tuple(scale.tolist()), zero_point)


def integers_in(path: Path) -> Iterator[IntegerTensor]:
    """Every tensor of integers with a scale that an ONNX file stores, as its plan has it."""
    from onnx.numpy_helper import to_array

    model = _read(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in _widening(model):
        value, scale, *zero = (to_array(stored[name]) for name in node.input)
        zeros = zero[0].reshape(-1).tolist() if zero else [0]
        scales = tuple(scale.reshape(-1).tolist())
        planned = as_planned(value, max(zeros, key=abs))
        yield IntegerTensor(node.input[0], planned[0], scales, planned[1])
    for name, of, zero_point in integer_scales(model):
        value, scale = to_array(stored[name]), to_array(stored[of]).reshape(-1)
        found = to_array(stored[zero_point]).reshape(-1).tolist() if zero_point else [0]
        yield IntegerTensor(name, value, tuple(scale.tolist()), max(found, key=abs))


def _widening(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes that widen stored integers by stored scales."""
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and stored.issuperset(node.input):
            yield node


def _widened(model: onnx.ModelProto) -> Iterator[np.ndarray]:
    """What stored integers stand for, in float32 (ONNX operator DequantizeLinear)."""
    from onnx.numpy_helper import to_array

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in _widening(model):
        value, *how = (to_array(stored[name]).astype(np.float32) for name in node.input)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        shape = [1] * value.ndim
        if how[0].size > 1:
            shape[axis] = -1
        scale, *zero = (each.reshape(shape) for each in how)
        yield (value - zero[0] if zero else value) * scale


def _file_tensor(value: Any) -> FileTensor:
    """From onnxruntime's own words, such as ``tensor(float)``."""
    word = str(value.type).removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(word, word)
    shape = tuple(n if isinstance(n, int) else None for n in value.shape)
    return FileTensor(value.name, shape, dtype)


class _OnnxDetector:
    """A file that ends with NonMaxSuppression, sorted and filled up to a fixed shape.

    The boxes and scores in front of it are read by a second session, of the same graph with these
    as further outputs.
    """

    def __init__(self, session: _OnnxSession, path: Path, names: tuple[str, ...]) -> None:
        import onnx

        self.session, self.names = session, names
        model = _read(path)
        nodes = [node for node in model.graph.node if node.op_type == _SUPPRESSION]
        if len(nodes) != 1:
            raise ArtifactError(
                f"{path} has {len(nodes)} NonMaxSuppression nodes; a detector has one.",
                hint="Export it again with `nms`.",
            )
        boxes, scores, _, iou, least = nodes[0].input
        makers = {name: node for node in model.graph.node for name in node.output}
        best = makers.get(scores)  # of each box, multiplied by what is 1 for its best class
        best_only = best is not None and best.op_type == "Mul"
        if best is not None and best_only:
            scores = best.input[0]
        values = {tensor.name: tensor for tensor in model.graph.initializer}
        iou_threshold, score_threshold = (
            _decimal(onnx.numpy_helper.to_array(values[name])) for name in (iou, least)
        )
        shapes = {value["name"]: tuple(value["shape"]) for value in map(_value, model.graph.output)}
        limit = shapes[SCORES][1]
        layouts = {
            BOXES: "left, top, right, bottom in pixels, the surest first, then zeros",
            "classes": "index of the class",
            SCORES: "probability",
            "count": "number of detections",
        }
        self.suppression = Suppression(
            iou_threshold,
            score_threshold,
            limit,
            best_class_only=best_only,
            outputs=tuple(
                FileOutput(name, shape, layouts[name], name, CORNERS if name == BOXES else None)
                for name, shape in shapes.items()
            ),
        )
        self.inside = (boxes, scores)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.inside)
        self.network = _open(model.SerializeToString())

    def detect(self, sample: Sample) -> tuple[list[np.ndarray], Detections]:
        """See `targets.Detector`."""
        boxes, scores = self.session.execute(self.network, self.inside, sample)
        inside = {BOXES: boxes, SCORES: scores.transpose(0, 2, 1)}
        wanted = (BOXES, SCORES, "classes", "count")
        found = self.session.execute(self.session.session, wanted, sample)
        count = int(found[3][0])
        kept = Detections(*(array[0, :count] for array in found[:3]))
        return [inside[name] for name in self.names], kept


def _network(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes up to a suppression, behind which nothing is the model's."""
    for node in model.graph.node:
        if node.op_type == _SUPPRESSION:
            return
        yield node


def _decimal(value: np.ndarray) -> float:
    """The shortest decimal number that a float32 stands for: 0.45 for 0.44999999."""
    return float(str(value.reshape(-1)[0]))


def _open(model: Path | bytes, *, optimise: bool = True) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        with suppress(Exception):  # files of others may share zero points, which it cannot take
            options.add_session_config_entry(_WHOLE_PRODUCTS, "1")
            return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        options.add_session_config_entry(_WHOLE_PRODUCTS, "0")
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own pybind types
        name = "the file" if isinstance(model, bytes) else str(model)
        raise ArtifactError(
            f"onnxruntime cannot load {name}: {error}", hint="Export it again."
        ) from error


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _OnnxSession:
    """Load an ONNX file with onnxruntime."""
    return _OnnxSession(path, outputs)


def class_names_in(path: Path) -> dict[str, tuple[str, ...]]:
    """See `Session.class_names`."""
    return _class_names(_read(path))


def _class_names(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    for entry in model.metadata_props:
        if entry.key == LABELS_KEY:
            return {"its metadata": names_of_json(entry.value)}
    return {}


def _read(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not an ONNX file: {error}", hint="Export it again."
        ) from error
    if not model.opset_import:  # an empty file is an empty message
        raise ArtifactError(f"{path} is not an ONNX file: it is empty.", hint="Export it again.")
    with reading(path, "ONNX"):
        _require_whole(path, model)
    return model


def _require_whole(path: Path, model: onnx.ModelProto) -> None:
    """Refuse a file whose weights lie in another one: no hash of this file vouches for them."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    for tensor in (*_tensors(model.graph.node), *_stored(model.graph)):
        if uses_external_data(tensor):
            places = {entry.key: entry.value for entry in tensor.external_data}
            raise ArtifactError(
                f"{path} keeps {tensor.name!r} in another file, {places.get('location', '')!r}.",
                hint="Save it as one file: onnx.save(onnx.load('OLD.onnx'), 'NEW.onnx').",
            )
    for function in model.functions:
        defaults = onnx.NodeProto(attribute=function.attribute_proto)
        if any(map(uses_external_data, _tensors((*function.node, defaults)))):
            raise ArtifactError(f"{path} keeps constants in another file.", hint="Export it again.")


def _stored(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Tensors in the attributes of nodes, and those of the graphs in them."""
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _stored(graph)
                yield from _tensors(graph.node)


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
    model = _read(path)
    with reading(path, "ONNX"):
        for tensor in model.graph.initializer:
            _require_values(path, tensor)
        return _facts(model)


def _require_values(path: Path, tensor: onnx.TensorProto) -> None:
    """Refuse float weights that say another size than they have."""
    import onnx

    widths = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2}
    width = widths.get(tensor.data_type)
    if width is None:
        return
    stored = len(tensor.raw_data) / width or len(tensor.float_data) or len(tensor.int32_data)
    if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) != stored:
        raise ArtifactError(
            f"{path} is damaged: {tensor.name!r} of shape {list(tensor.dims)} has {stored:g} "
            "numbers.",
            hint="Copy it again from where it was made, or export it again.",
        )


def _precision(model: onnx.ModelProto) -> str:
    """The lowest precision among the weights, in words of ``--precision`` where it has them:
    ``int8`` and ``int16`` where results in between are integers, too, ``int8-dynamic`` where they
    become integers by a scale of the moment, ``int8-weights`` where they stay floating-point.

    Integers are weights where an operator of quantised arithmetic reads them.
    """
    import onnx

    of = onnx.TensorProto
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    reading = [
        node
        for node in model.graph.node
        if node.op_type in ("DequantizeLinear", "QuantizeLinear")
        or node.op_type.startswith("QLinear")
        or node.op_type.endswith("Integer")
    ]
    read = {types.get(name) for node in reading for name in node.input}
    ops = {node.op_type for node in model.graph.node}
    if read & {of.INT4, of.UINT4}:
        return "int4-weights"
    if read & {of.INT16, of.UINT16}:
        return "int16"
    if read & {of.INT8, of.UINT8}:
        if "DynamicQuantizeLinear" in ops:
            return "int8-dynamic"
        return (
            "int8-weights" if {node.op_type for node in reading} == {"DequantizeLinear"} else "int8"
        )
    return "fp16" if of.FLOAT16 in types.values() else "fp32"


def _facts(model: onnx.ModelProto) -> dict[str, Any]:
    import onnx

    weights = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    ]
    initializers = {tensor.name for tensor in model.graph.initializer}
    return {
        "inputs": [_value(v) for v in model.graph.input if v.name not in initializers],
        "outputs": [_value(v) for v in model.graph.output],
        "ops": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        "parameters": sum(math.prod(tensor.dims) for tensor in weights),
        "precision": _precision(model),
        "version": f"IR {model.ir_version}, opset {model.opset_import[0].version}",
        "metadata": {
            entry.key: entry.value for entry in model.metadata_props if entry.key != LABELS_KEY
        },
    }
