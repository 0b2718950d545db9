"""Core ML packages: ``predict`` on macOS, the reference evaluator of ML Programs elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...artifacts.damage import reading
from ...detection.contract import BOXES
from ...errors import ArtifactError, ExecutionError
from ...parity.names import names_of_json
from ...parity.session import FileTensor, IntegerTensor, Session, Tensor
from .detector import PipelineDetector, Rows, suppression_of
from .evaluator import MilProgram, NmsModel, load_program, read_nms

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["ACTIVATION_KEY", "LABELS_KEY", "PREVIEW", "PREVIEW_KEY", "describe", "load"]

ACTIVATION_KEY = "mobile_export.activation"
"""User-defined metadata: what a package computes behind the program's outputs ("softmax")."""

LABELS_KEY = "mobile_export.labels"
"""User-defined metadata: the names of the classes, a list as JSON."""

PREVIEW = "com.apple.coreml.model.preview."
"""Metadata by which Xcode's preview knows a segmenter (coremltools' guide, "Xcode Model Preview
Types"); classifiers and detectors it knows by the types of their outputs."""

PREVIEW_KEY = PREVIEW + "params"
"""Of a segmenter: an object as JSON, in whose ``labels`` are the names of the classes."""


class _EvaluatorSession(Session):
    """Runs the saved program in our evaluator."""

    emulated = True
    detector: PipelineDetector | None

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        with reading(path, "Core ML"):
            self.program = load_program(path)
            self.package = read_description(path)
        self.runtime = "ML Program evaluator"
        self.precision = self.arithmetic = self.program.precision
        self.takes_pixels = self.package.image_input
        self.activation = self.package.metadata.get(ACTIVATION_KEY)
        self.inputs = tuple(each.name for each in self.program.inputs)
        names = self.program.outputs
        wanted = tuple(output.name for output in outputs)
        self.outputs = wanted if set(wanted) <= set(names) else names
        # A multi-array has at least one axis.
        self.scalars = {output.name for output in outputs if output.shape == ()}
        if self.program.classes is not None:
            self.outputs = tuple(name for name in names if name != self.package.label_name)
        with reading(path, "Core ML"):
            self.nms = read_nms(path)
            self.detector = None if self.nms is None else self._detector(self.nms, wanted)

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        """As the model description says; it leaves out the shapes of an ML Program's outputs."""
        types = self.program.output_types()
        made = (
            {}
            if self.detector is None
            else {each.name: each.shape for each in self.detector.suppression.outputs}
        )
        known = {
            name: tuple(None if n < 0 else n for n in type_.shape) for name, type_ in types.items()
        } | made
        outputs = (
            replace(each, shape=known.get(each.name, each.shape)) if each.dtype != "str" else each
            for each in self.package.outputs
        )
        return self.package.inputs, tuple(outputs)

    def _detector(self, nms: NmsModel, names: tuple[str, ...]) -> PipelineDetector:
        height, width = self.program.inputs[0].shape[-2:]
        return PipelineDetector(
            nms,
            suppression_of(self.program, nms),
            size=(height, width),
            names=names,
            network=self._network,
            suppress=self._suppress,
        )

    def _network(self, sample: Sample) -> Mapping[str, np.ndarray]:
        return self.program.run(self._feed(sample))

    def _suppress(self, sample: Sample, raw: Rows) -> Rows:
        assert self.nms is not None
        return self.nms.run(*raw)

    def _feed(self, sample: Sample) -> dict[str, np.ndarray]:
        given = sample.by_name(self.inputs, pixels=self.takes_pixels)
        return {name: _plain(each) for name, each in given.items()}

    def run(self, sample: Sample) -> list[np.ndarray]:
        if self.detector is not None:
            return self.detector.detect(sample)[0]
        results = self._network(sample)
        arrays = [self._shaped(name, results[name]) for name in self.outputs]
        return [a[None] if self.program.classes is not None and a.ndim == 1 else a for a in arrays]

    def _shaped(self, name: str, value: np.ndarray) -> np.ndarray:
        return value.reshape(()) if name in self.scalars and value.size == 1 else value

    def class_names(self) -> dict[str, tuple[str, ...]]:
        metadata = self.package.metadata
        found = {}
        if LABELS_KEY in metadata:
            found["its metadata"] = names_of_json(metadata[LABELS_KEY])
        if PREVIEW_KEY in metadata:
            found["its preview for Xcode"] = names_of_json(metadata[PREVIEW_KEY], key="labels")
        if self.program.classes is not None:
            found["its classifier"] = tuple(map(str, self.program.classes))
        if self.nms is not None and self.nms.labels:
            found["its suppression"] = self.nms.labels
        return found

    def keeps_names(self, program: Program, names: Sequence[str]) -> bool:
        return True

    def notes(self) -> tuple[str, ...]:
        return self.program.findings.notes(self.modules)

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self.program.stored_weights()

    def stored_integers(self) -> Iterator[IntegerTensor]:
        for each in self.program.stored:
            yield IntegerTensor(each.name, each.value, each.scales, each.zero_point)

    def looked_up(self) -> Iterator[np.ndarray]:
        yield from self.program.looked_up

    def stored_floats(self) -> Iterator[np.ndarray]:
        yield from self.program.stored_floats()

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        known = self.program.quantizers()
        for tensor in self.tensors(sample):
            if tensor.name in known:
                scale, zero = known[tensor.name]
                yield IntegerTensor(tensor.name, tensor.value, (scale,), zero)

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        inputs = self.program.dependencies()
        found: list[Tensor] = []

        def watch(op_name: str, op_type: str, output: str, value: torch.Tensor) -> None:
            found.append(Tensor(output, inputs[output], value.numpy(), op=op_type))

        self.program.run(self._feed(sample), watch=watch)
        yield from found
        if self.nms is not None and self.detector is not None:
            source = next(tensor for tensor in found if tensor.name == self.nms.coordinates)
            yield Tensor(BOXES, (source.name,), self.detector.corners(source.value))


class _CoreMLSession(_EvaluatorSession):
    """Runs the package with Core ML itself (macOS); tensors inside are the evaluator's."""

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        super().__init__(path, outputs)
        import coremltools as ct

        self.model = ct.models.MLModel(str(path))
        self.network = self.model
        if self.nms is not None:
            self.network = ct.models.MLModel(
                self.model.get_spec().pipeline.models[0], weights_dir=self.model.weights_dir
            )
        self.runtime = f"Core ML (coremltools {ct.__version__})"

    def overflow_notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """Core ML shows nothing inside: the evaluator's run does."""
        for sample in samples:
            self.program.run(self._feed(sample))
        return ()  # `notes` has them now

    def run(self, sample: Sample) -> list[np.ndarray]:
        if self.detector is not None:
            return self.detector.detect(sample)[0]
        results = self._predict(self.model, sample)
        classes = self.program.classes
        if classes is None:
            return [self._shaped(name, np.asarray(results[name])) for name in self.outputs]
        return [np.asarray([[results[n][label] for label in classes]]) for n in self.outputs]

    def _network(self, sample: Sample) -> Mapping[str, np.ndarray]:
        return self._predict(self.network, sample)

    def _suppress(self, sample: Sample, raw: Rows) -> Rows:
        assert self.nms is not None
        results = self._predict(self.model, sample)
        confidence, coordinates = (results[name] for name in self.nms.outputs)
        return confidence, coordinates

    def _predict(self, model: Any, sample: Sample) -> dict[str, Any]:
        feed: dict[str, Any] = self._feed(sample)
        if self.takes_pixels:
            from PIL import Image

            ((name, image),) = feed.items()
            pixels = image[0].astype(np.uint8)
            picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            feed = {name: Image.fromarray(picture)}
        try:
            results: dict[str, Any] = model.predict(feed)
        except Exception as error:  # Core ML's errors arrive as RuntimeError or its own types
            raise ExecutionError(f"Core ML cannot run the package: {error}") from error
        return results


def _plain(tensor: torch.Tensor) -> np.ndarray:
    """As a multi-array has it: float32 or int32."""
    dtype = torch.float32 if tensor.is_floating_point() else torch.int32
    return np.asarray(tensor.to(dtype).numpy())


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _EvaluatorSession:
    """Load a package with Core ML on macOS, with the evaluator elsewhere."""
    return (_CoreMLSession if sys.platform == "darwin" else _EvaluatorSession)(path, outputs)


@dataclass(frozen=True)
class _Description:
    """The part of a package's model description that parity and ``inspect`` need."""

    label_name: str
    metadata: dict[str, str]
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]

    @property
    def image_input(self) -> bool:
        """Whether the package takes an image, and no array."""
        return self.inputs[0].image is not None


def read_description(path: Path) -> _Description:
    """Read a package's model description (``Model.proto`` of coremltools: field 2)."""
    from .evaluator.text import FormatError, model_path
    from .evaluator.wire import Message, WireError

    try:
        description = Message(model_path(path).read_bytes()).message(2)
        label = description.text(11) if 11 in description else ""
        inputs = tuple(_feature(each, "") for each in description.messages(1))
        outputs = tuple(_feature(each, label) for each in description.messages(10))
        if not inputs:
            raise FormatError("it has no input")
        user = description.message(100).messages(100)
        return _Description(
            label_name=label,
            metadata={entry.text(1): entry.text(2) for entry in user},
            inputs=inputs,
            outputs=outputs,
        )
    except (FormatError, WireError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not a Core ML package: {error}.") from error


_IMAGES = {10: "L", 20: "RGB", 30: "BGR"}
_ARRAYS = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32"}
_SCALARS = {1: "int64", 2: "float64", 3: "str", 6: "dict"}


def _feature(message: Any, label: str) -> FileTensor:
    """A ``FeatureDescription``: its type is an image (field 4), an array (5) or a single value.

    Args:
        label: name of the output that is the best class.
    """
    name, type_ = message.text(1), message.message(3)
    optional = bool(type_.integer(1000))
    if 4 in type_:
        image = type_.message(4)
        order = _IMAGES.get(image.integer(3), "RGB")
        shape = (1, 1 if order == "L" else 3, image.integer(2), image.integer(1))
        return FileTensor(name, shape, "uint8", image=order, optional=optional)
    if 5 in type_:
        array = type_.message(5)
        dtype = _ARRAYS.get(array.integer(2), "unknown")
        return FileTensor(name, tuple(array.integers(1)), dtype, optional=optional)
    kind = next((word for number, word in _SCALARS.items() if number in type_), "unknown")
    return FileTensor(name, (), kind, optional=optional, label=bool(label) and name == label)


def describe(path: Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters and precision of a package."""
    with reading(path, "Core ML"):
        return _facts(path)


def _facts(path: Path) -> dict[str, Any]:
    program: MilProgram = load_program(path)
    package = read_description(path)
    nms = read_nms(path)
    outputs = [
        {"name": name, "shape": list(type_.shape), "dtype": type_.dtype}
        for name, type_ in program.output_types().items()
    ]
    ops = dict(program.op_counts().most_common())
    if nms is not None:
        made = suppression_of(program, nms).outputs
        outputs = [{"name": o.name, "shape": list(o.shape), "dtype": "fp32"} for o in made]
        ops["nonMaximumSuppression"] = 1
    return {
        "inputs": [
            {
                "name": spec.name,
                "shape": list(spec.shape),
                "dtype": "image (8-bit)" if package.image_input else spec.dtype,
            }
            for spec in program.inputs
        ],
        "outputs": outputs,
        "ops": ops,
        "parameters": program.parameter_count(),
        "precision": program.compressed or program.precision,
        "version": program.opset,
        "metadata": package.metadata,
    }
