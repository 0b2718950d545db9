"""TFLite files, executed by LiteRT (with XNNPACK, as an app would) on the CPU."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts.damage import reading
from ...detection.contract import BOXES
from ...errors import ArtifactError, ExecutionError
from ...graph.specs import PIXELS
from ...parity.overflow import notes_on_values
from ...parity.session import FileTensor, IntegerTensor, Session, Tensor
from ...system.files import GIB, MIB, read_regular_file
from ...system.install import install_command
from ...system.litert_private import operations_of
from ..processing import added_activation
from .blocks import block_weights
from .detector import POST_PROCESSING, TFLiteDetector, find_post_processing
from .flatbuffer import LAYOUT, name_of, unpack
from .metadata import LABELS, has_metadata, labels_in, stands_beside

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["describe", "load"]

_FLOATS = {0: "<f4", 1: "<f2"}
"""By number in TFLite's ``TensorType``."""

_LARGEST = 2 * GIB  # of a flat buffer
_ADVICE = (
    "LiteRT's CPU computes in float32 and is right; for a GPU delegate forbid the loss of precision"
)
_TO_NCHW = (0, 3, 1, 2)


class _LiteRTSession(Session):
    detector: TFLiteDetector | None

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        import ai_edge_litert

        self.runtime = f"LiteRT {ai_edge_litert.__version__}"
        self.path = path
        self.specs = outputs
        found = find_post_processing(path)
        kept = found is not None and found.best_only  # its scores are read by no last operation
        self.interpreter = interpreter = _open(path, preserve=kept, delegates=True)
        signatures = interpreter.get_signature_list()
        if not signatures:
            raise ArtifactError(
                f"{path} has no signature.",
                hint="Export it again with mobile-export or litert-torch.",
            )
        self.signatures = {
            key: _signature(interpreter.get_signature_runner(key), names["inputs"])
            for key, names in signatures.items()
        }
        key, signature = next(iter(signatures.items()))
        self.first = key
        self.runner, self.inputs = self.signatures[key]
        self.takes_pixels = PIXELS in self.inputs
        wanted = [output.name for output in outputs]
        self.outputs = wanted if set(wanted) <= set(signature["outputs"]) else signature["outputs"]
        facts = describe(path)
        self.precision, self.layout = facts["precision"], facts.get("layout")
        self.turned = frozenset((self.layout or "").split()[1:])
        self.activation = added_activation(signature["outputs"], outputs)
        self.detector = (
            None
            if found is None
            else TFLiteDetector(interpreter, self._invoke, tuple(wanted), found)
        )

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        """By the names of the signature, in the order of the graph's own inputs and outputs."""
        self.runner, self.inputs = self.signatures[self.first]
        named = (self.runner.get_input_details(), self.runner.get_output_details())
        inputs, outputs = ({d["index"]: name for name, d in details.items()} for details in named)
        return (
            tuple(_file_tensor(d, inputs) for d in self.interpreter.get_input_details()),
            tuple(_file_tensor(d, outputs) for d in self.interpreter.get_output_details()),
        )

    def _choose(self, sample: Sample) -> None:
        """The signature for a sample's size, of a file with one for each size.

        Raises:
            ExecutionError: it has none.
        """
        if len(self.signatures) == 1:
            return
        given = sample.given(pixels=self.takes_pixels).shape
        forms = (tuple(given), (given[0], *given[2:], given[1]))
        for runner, inputs in self.signatures.values():
            if {shape for shape, _ in inputs.values()} <= set(forms):
                self.runner, self.inputs = runner, inputs
                return
        raise ExecutionError(
            f"{self.path} has no signature for an input of shape {tuple(given)}.",
            hint=f"It has {', '.join(self.signatures)}.",
        )

    def _feed(self, sample: Sample) -> dict[str, np.ndarray]:
        given = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
        fed = {}
        for name, tensor in given.items():
            shape, dtype = self.inputs[name]
            turned = self.layout == "nhwc" if len(given) == 1 else name in self.turned
            if turned or (tuple(tensor.shape) != shape and tensor.ndim > 2):
                tensor = tensor.movedim(1, -1)
            fed[name] = np.asarray(tensor.numpy(), dtype=dtype, order="C")
        return fed

    def _is_nhwc(self, sample: Sample) -> bool:
        """Whether outputs of four axes have channels last: some input of the file has."""
        given = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
        other = any(tuple(each.shape) != self.inputs[name][0] for name, each in given.items())
        return (self.layout or "").split()[:1] == ["nhwc"] or other

    def _invoke(self, sample: Sample) -> dict[str, np.ndarray]:
        try:
            results: dict[str, np.ndarray] = self.runner(**self._feed(sample))
        except (RuntimeError, ValueError) as error:
            raise ExecutionError(f"LiteRT cannot run {self.path}: {error}") from error
        return results

    def run(self, sample: Sample) -> list[np.ndarray]:
        if self.detector is not None:
            return self.detector.detect(sample)[0]
        self._choose(sample)
        nhwc = self._is_nhwc(sample)
        results = self._invoke(sample)
        arrays = [results[name] for name in self.outputs]
        if len(arrays) != len(self.specs):
            return arrays
        return [
            _to_nchw(array, spec, nhwc=nhwc) for array, spec in zip(arrays, self.specs, strict=True)
        ]

    def class_names(self) -> dict[str, tuple[str, ...]]:
        names = labels_in(self.path)
        return {} if names is None else {f"its {LABELS}": names}

    def keeps_names(self, program: Program, names: Sequence[str]) -> bool:
        shapes = {shape for _, inputs in self.signatures.values() for shape, _ in inputs.values()}
        marked = (self.layout or "").split()[:1] == ["nhwc"]
        nhwc = marked or tuple(program.input.shape) not in shapes
        described = has_metadata(program, nhwc=nhwc)
        return described and (self.detector is not None or stands_beside(program.outputs, names))

    def overflow_notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """LiteRT's CPU widens float16 weights and computes in float32; a GPU delegate need not."""
        if self.precision != "fp16" or not samples:
            return ()
        self._choose(samples[0])
        if self.runner is not self.signatures[self.first][0]:
            return ()  # only the first subgraph can be looked into, and weights are the same
        return notes_on_values(self.tensors, samples, _ADVICE)

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        self._choose(sample)
        interpreter = _open(self.path, preserve=True)
        interpreter.allocate_tensors()
        places = self.runner.get_input_details()
        for name, feed in self._feed(sample).items():
            interpreter.set_tensor(places[name]["index"], feed)
        interpreter.invoke()
        names = {d["index"]: f"{d['name']}#{d['index']}" for d in interpreter.get_tensor_details()}
        for op in operations_of(interpreter):
            if op["op_name"] == POST_PROCESSING:
                continue  # no tensor of the model's
            inputs = tuple(names[i] for i in map(int, op["inputs"]) if i in names)
            for index in map(int, op["outputs"]):
                if index in names:
                    value = interpreter.get_tensor(index)
                    yield Tensor(names[index], inputs, value, op=op["op_name"])
        if self.detector is not None:
            source = names[self.detector.post_processing.anchors]
            yield Tensor(BOXES, (source,), self.detector.boxes(interpreter, sample))

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        model = unpack(self.path.read_bytes())
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                data, kind = model.buffers[tensor.buffer].data, _FLOATS.get(tensor.type)
                if kind is not None and data is not None and len(data):
                    array = np.asarray(data, np.uint8).view(kind)
                    yield _plain_name(tensor), array.reshape(tensor.shape)

    def stored_integers(self) -> Iterator[IntegerTensor]:
        interpreter = _open(self.path, preserve=True)
        interpreter.allocate_tensors()
        made = {int(i) for op in operations_of(interpreter) for i in op["outputs"]}
        given = {int(d["index"]) for d in interpreter.get_input_details()}
        for details in interpreter.get_tensor_details():
            scales = details["quantization_parameters"]["scales"]
            if len(scales) and details["index"] not in made | given:
                value = interpreter.get_tensor(details["index"])
                zeros = details["quantization_parameters"]["zero_points"].tolist()
                zero = max(zeros, key=abs, default=0)
                yield IntegerTensor(details["name"], value, tuple(scales.tolist()), zero)

    def looked_up(self) -> Iterator[np.ndarray]:
        return block_weights(self.path.read_bytes())

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        interpreter = _open(self.path, preserve=True)
        known = {
            f"{d['name']}#{d['index']}": d["quantization_parameters"]
            for d in interpreter.get_tensor_details()
        }
        for tensor in self.tensors(sample):
            found = known.get(tensor.name)
            if found is not None and len(found["scales"]) == 1:
                scale, zero = found["scales"].tolist(), int(found["zero_points"][0])
                yield IntegerTensor(tensor.name, tensor.value, tuple(scale), zero)


_Inputs = dict[str, tuple[tuple[int, ...], Any]]


def _signature(runner: Any, names: Sequence[str]) -> tuple[Any, _Inputs]:
    """A runner with shape and dtype of each of its inputs."""
    details = runner.get_input_details()
    return runner, {
        name: (tuple(int(n) for n in details[name]["shape"]), details[name]["dtype"])
        for name in names
    }


def _file_tensor(details: dict[str, Any], names: dict[int, str]) -> FileTensor:
    shape = tuple(int(n) for n in details["shape"])
    inner = str(details["name"])
    name = names.get(details["index"], inner)
    dtype = np.dtype(details["dtype"]).name
    return FileTensor(name, shape, dtype, None if inner == name else inner)


def _to_nchw(array: np.ndarray, spec: OutputSpec, *, nhwc: bool) -> np.ndarray:
    """Undo the NHWC layout of a rank-4 output, unless the file returns the program's layout."""
    if array.ndim != 4 or not nhwc:
        return array
    turned = array.transpose(_TO_NCHW)
    return array if turned.shape != spec.shape and array.shape == spec.shape else turned


def _open(path: Path, *, preserve: bool = False, delegates: bool = False) -> Any:
    """An interpreter.

    Args:
        preserve: keep what operations compute until the next run.
        delegates: also then compute by XNNPACK what it can, whose own tensors stay unknown.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    options: dict[str, Any] = {}
    if preserve:
        options["experimental_preserve_all_tensors"] = True
        if not delegates:
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            options["experimental_op_resolver_type"] = resolver
    try:
        return Interpreter(str(path), **options)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"LiteRT cannot load {path}: {error}", hint="Export it again."
        ) from error


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _LiteRTSession:
    """Load a TFLite file with LiteRT."""
    return _LiteRTSession(path, outputs)


def _operator_name(code: Any, names: dict[int, str], texts: _Texts) -> str:
    if code.CustomCode():
        return texts.decode(code.CustomCode())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return names.get(number, f"op {number}")


def describe(path: Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters, precision and highest rank of a TFLite file."""
    content = read_regular_file(path, limit=_LARGEST)
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ArtifactError(f"{path} is not a TFLite file.", hint="Export it again.")
    with reading(path, "TFLite"):
        facts = _facts(content)
    return {**facts, "gpu_delegate": _gpu_compatibility(path)}


_MOST_AXES = 16


class _Texts:
    """Names in a file of ``size`` bytes; many tables may share one, and all of them are few."""

    def __init__(self, size: int) -> None:
        self._left = 4 * size + MIB

    def decode(self, text: bytes) -> str:
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("its names are together longer than the file")
        return text.decode()


def _facts(content: bytes) -> dict[str, Any]:
    """Of the flat buffer ``content``; no list is longer than it can be, and nothing unfolds."""
    from ai_edge_litert import schema_py_generated as schema

    def indices(count: int) -> range:
        if count > len(content) // 4:
            raise ValueError(f"a list of {count} elements in a file of {len(content)} bytes")
        return range(count)

    texts = _Texts(len(content))
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    builtin = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    types = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}

    def value(index: int) -> dict[str, Any]:
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        if tensor.ShapeLength() > _MOST_AXES:
            raise ValueError(f"a tensor of {tensor.ShapeLength()} axes")
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        return {
            "name": texts.decode(tensor.Name()),
            "shape": shape,
            "dtype": types.get(tensor.Type(), "unknown"),
            "stored": buffer.DataLength() or buffer.Size(),  # large ones lie behind the table
            "quantized": _scales(tensor) > 0,
        }

    tensors = [value(i) for i in indices(graph.TensorsLength())]
    weights = [t for t in tensors if t["stored"]]
    stored = [t for t in weights if t["dtype"] in ("float32", "float16")]
    operators = (graph.Operators(i) for i in indices(graph.OperatorsLength()))
    codes = [
        _operator_name(model.OperatorCodes(i), builtin, texts)
        for i in indices(model.OperatorCodesLength())
    ]
    ops = Counter(codes[op.OpcodeIndex()] for op in operators)

    hidden = ("stored", "quantized")

    def interface(indices: Iterator[int]) -> list[dict[str, Any]]:
        return [{k: v for k, v in tensors[i].items() if k not in hidden} for i in indices]

    metadata = {
        texts.decode(model.Metadata(i).Name()): model.Buffers(model.Metadata(i).Buffer())
        for i in indices(model.MetadataLength())
    }
    layout = metadata.get(LAYOUT)
    return {
        **({} if layout is None else {"layout": layout.DataAsNumpy().tobytes().decode()}),
        "inputs": interface(graph.Inputs(i) for i in indices(graph.InputsLength())),
        "outputs": interface(graph.Outputs(i) for i in indices(graph.OutputsLength())),
        "ops": dict(ops.most_common()),
        "parameters": sum(math.prod(t["shape"]) for t in stored),
        "precision": _precision(tensors, "DEQUANTIZE" in ops),
        "version": f"schema {model.Version()}",
        "highest_rank": max(len(t["shape"]) for t in tensors),
    }


_QUANTIZED = ("int8", "uint8", "int4")


def _scales(tensor: Any) -> int:
    """How many scales a tensor has: those of a quantised one."""
    quantization = tensor.Quantization()
    return 0 if quantization is None else int(quantization.ScaleLength())


def _precision(tensors: list[dict[str, Any]], widens: bool) -> str:
    """The lowest precision among stored tensors, in words of ``--precision`` where it has them:
    ``int8`` and ``int16`` where results in between are integers, too, ``int8-weights`` where the
    file widens its weights (``widens``), else ``int8-dynamic``: the kernels take both types, and
    round what they are given.
    """
    weights = {t["dtype"] for t in tensors if t["stored"] and t["quantized"]} & set(_QUANTIZED)
    results = {t["dtype"] for t in tensors if not t["stored"] and t["quantized"]}
    if weights:
        if results & {"int8", "uint8", "int16"}:
            return "int16" if "int16" in results else "int8"
        if "int4" in weights:
            return "int4-weights"
        return "int8-weights" if widens else "int8-dynamic"
    stored = {t["dtype"] for t in tensors if t["stored"]}
    return "fp16" if "float16" in stored else "fp32"


def _gpu_compatibility(path: Path) -> str:
    """What TensorFlow's model analyzer says about the GPU delegate, on one line per problem."""
    if importlib.util.find_spec("tensorflow") is None:
        return f"not checked; run: {install_command('gpu-check')}"
    import contextlib
    import io

    import tensorflow as tf

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        tf.lite.experimental.Analyzer.analyze(model_path=str(path), gpu_compatibility=True)
    return _read_analysis(printed.getvalue())


def _read_analysis(text: str) -> str:
    """The verdict of the analyzer's printed report."""
    lines = [line.strip() for line in text.splitlines()]
    if any("looks compatible with GPU delegate" in line for line in lines):
        return "compatible, says TensorFlow's analyzer"
    problems = dict.fromkeys(line for line in lines if "GPU COMPATIBILITY WARNING" in line)
    found = "; ".join(line.split("WARNING:")[-1].strip() for line in problems)
    return f"not compatible: {found}" if found else "unknown: the analyzer gave no verdict"


def _plain_name(tensor: Any) -> str:
    """A stored tensor's name without the module that this program wraps models in, which is all
    that the converter has of many; then its shape."""
    parts = name_of(tensor).split(";")
    own = [part for part in parts if part.strip("0123456789") and not part.startswith(__package__)]
    return ";".join(dict.fromkeys(own)) or f"a tensor of {'x'.join(map(str, tensor.shape)) or 1}"
