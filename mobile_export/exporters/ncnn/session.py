"""ncnn files, executed by the ncnn package on the CPU, one thread.

A file is run twice, because devices differ: with float32 options, and with ncnn's default ones,
which store blobs and weights in float16 and compute in it where the processor can. A processor that
cannot (x86) would keep most blobs in float32 and prove little about a phone, so there every blob is
rounded to float16 by ncnn's own ``Cast`` layers, except where a layer's mask says float32. Sums
inside a layer are then still float32; the report calls that run emulated.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts.damage import reading
from ...errors import ArtifactError, ExecutionError
from ...graph.specs import PIXELS
from ...parity.overflow import Overflow, beyond_float16, largest_of_each, overflow_note
from ...parity.session import FileTensor, IntegerTensor, Session, Tensor
from ...system.children import Limits, run_module
from ..processing import added_activation
from .reader import (
    IntegerLayer,
    Layer,
    gives_integers,
    is_quantized,
    param_text,
    read_arrays,
    read_integers,
    read_param,
    read_weights,
)

if TYPE_CHECKING:
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["describe", "load"]

_WEIGHTS_SUFFIX = ".bin"
_FLOAT16_OPTIONS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
_REMEDY = f"switch float16 off: {', '.join(f'net.opt.{name}' for name in _FLOAT16_OPTIONS)} = false"
_NO_FLOAT16_STORAGE = 2
_FLOAT32, _FLOAT16 = 1, 2  # of the layer Cast
_PROBE_SECONDS = 600.0


class _NcnnSession(Session):
    def __init__(
        self, path: Path, layers: tuple[Layer, ...], outputs: tuple[OutputSpec, ...], *, half: bool
    ) -> None:
        import ncnn

        self.path = path
        self.layers = layers
        self.specs = outputs
        self.options = dict.fromkeys(_FLOAT16_OPTIONS, half) | {"num_threads": 1}
        self.inputs = {each.outputs[0]: tuple(_shape(each)) for each in _input_layers(path, layers)}
        self.takes_pixels = PIXELS in self.inputs
        made = _outputs(layers)
        self.activation = added_activation(made, outputs)
        wanted = [output.name for output in outputs]
        self.outputs = wanted if set(wanted) <= set(made) else made
        self.runtime = f"ncnn {ncnn.__version__}"
        self.executed = layers
        if half:
            self.precision = self.arithmetic = "fp16"
            self.remedy = _REMEDY
            self.runtime += ", default options"
            self.emulated = not ncnn.cpu_support_arm_asimdhp()
            if self.emulated:
                self.executed = _rounded_to_float16(layers)
        self._net: Any = None
        self._tried: set[tuple[tuple[int, ...], ...]] = set()
        self._shapes: dict[str, tuple[int, ...]] = {}

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        """As ``ncnn::Mat`` has them, without a batch; outputs have the shapes of the last run."""
        inputs = (
            FileTensor(name, tuple(n or None for n in shape[1:]))
            for name, shape in self.inputs.items()
        )
        made = (FileTensor(name, self._shapes[name]) for name in _outputs(self.layers))
        return tuple(inputs), tuple(made)

    def _open(self) -> Any:
        import ncnn

        if self._net is None:
            net = ncnn.Net()
            for option, value in self.options.items():
                setattr(net.opt, option, value)
            weights = str(self.path.with_suffix(_WEIGHTS_SUFFIX))
            if net.load_param_mem(param_text(self.executed)) or net.load_model(weights):
                raise ArtifactError(f"ncnn cannot load {self.path}.", hint="Export it again.")
            self._net = net
        return self._net

    def _extractor(self, sample: Sample) -> Any:
        import ncnn

        fed = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
        for name, tensor in fed.items():
            given, wanted = tuple(tensor.shape), self.inputs[name]
            if not _fits(given, wanted):  # ncnn may read beyond the image, or crash
                raise ExecutionError(
                    f"{self.path} takes an image of shape {_words(wanted)}; it was given {given}."
                    if len(fed) == 1
                    else f"{self.path} takes {name} of shape {wanted}; it was given {given}.",
                    hint="Give the size that the file was exported for.",
                )
        self._try({name: tuple(tensor.shape) for name, tensor in fed.items()})
        extractor = self._open().create_extractor()
        for name, tensor in fed.items():
            array = np.ascontiguousarray(tensor[0].float().numpy())
            extractor.input(name, ncnn.Mat(array).clone())
        return extractor

    def _try(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Run a file with a free height and width in a process of its own, once for each size."""
        if self.free and tuple(shapes.values()) not in self._tried:
            both = (self, *(each for each in self.variants if isinstance(each, _NcnnSession)))
            _probe(shapes, *both)
            for each in both:
                each._tried.add(tuple(shapes.values()))

    @property
    def free(self) -> bool:
        """Whether it takes images of several sizes."""
        return any(0 in shape for shape in self.inputs.values())

    def _extract(self, extractor: Any, blob: str) -> np.ndarray:
        status, mat = extractor.extract(blob)
        if status:
            raise ExecutionError(f"ncnn cannot run {self.path}: no {blob!r} (status {status}).")
        return np.array(mat)

    def run(self, sample: Sample) -> list[np.ndarray]:
        extractor = self._extractor(sample)
        arrays = [self._extract(extractor, blob) for blob in self.outputs]
        self._shapes = {b: a.shape for b, a in zip(self.outputs, arrays, strict=True)}
        if len(arrays) != len(self.specs):
            return arrays
        return [
            array.reshape(spec.shape)
            if array.size == np.prod(spec.shape)
            else array.reshape((1,) * (len(spec.shape) - array.ndim) + array.shape)
            for array, spec in zip(arrays, self.specs, strict=True)
        ]

    def _of_integers(self) -> tuple[IntegerLayer, ...]:
        return read_integers(self.layers, self.path.with_suffix(_WEIGHTS_SUFFIX))

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from read_arrays(self.layers, self.path.with_suffix(_WEIGHTS_SUFFIX))

    def stored_integers(self) -> Iterator[IntegerTensor]:
        """The weights of layers that multiply integers, with a scale for each output channel."""
        for each in self._of_integers():
            outputs = each.layer.number(0)
            scales = np.repeat(_steps(each.scales), outputs // len(each.scales))
            yield IntegerTensor(each.layer.name, each.weights, tuple(scales.tolist()))

    def stored_floats(self) -> Iterator[np.ndarray]:
        """The biases of these layers, which are float32."""
        yield from (each.bias for each in self._of_integers() if each.bias is not None)

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        """What these layers multiply: as the layer before gave it, or float32 that ncnn rounds
        inside the layer, here by its rule.

        Where it was moved in front of the layer, as it was before, too.
        """
        extractor = self._extractor(sample)
        extractor.set_light_mode(False)
        makers = {blob: layer for layer in self.layers for blob in layer.outputs}
        for each in self._of_integers():
            (step,) = _steps(np.array([each.source])).tolist()
            blob: str | None = each.layer.inputs[0]
            while blob is not None:
                maker = makers[blob]
                origin = makers[maker.inputs[0]] if maker.type == "Split" else maker
                values = self._extract(extractor, blob)
                if not gives_integers(origin):
                    values = _rounded(values, each.source)
                yield IntegerTensor(blob, values.astype(np.int64), (step,))
                blob = maker.inputs[0] if maker.type in _MOVING else None

    def overflow_notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """Values that are finite with float32 options and not with ncnn's default ones."""
        found = largest_of_each(
            o for s in samples for v in self.variants for o in _lost(self, v, s)
        )
        return (overflow_note(found, _REMEDY),) if found else ()

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        extractor = self._extractor(sample)
        extractor.set_light_mode(False)
        origin: dict[str, str] = {}  # of the branches of a Split
        for layer in self.layers:
            sources = tuple(origin.get(blob, blob) for blob in layer.inputs)
            if layer.type == "Split":
                origin |= dict.fromkeys(layer.outputs, sources[0])
                continue
            for blob in layer.outputs:
                module = layer.name.rpartition("/")[0] or None
                yield Tensor(blob, sources, self._extract(extractor, blob), module, layer.type)


_MOVING = ("Permute", "Reshape", "Split")


def _steps(scales: np.ndarray) -> np.ndarray:
    """What an integer counts, float32, where ``scales`` are what numbers were multiplied by."""
    return (1.0 / scales.astype(np.float64)).astype(np.float32)


def _rounded(values: np.ndarray, scale: float) -> np.ndarray:
    """As ``float2int8`` of ncnn: halves away from zero, from -127 to 127."""
    scaled = values.astype(np.float32) * np.float32(scale)
    integers: np.ndarray = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    return integers.clip(-127, 127)


def _lost(exact: Session, half: Session, sample: Sample) -> Iterator[Overflow]:
    """Values beyond float16 that ``half`` does not hold; those that its masks keep, it does."""
    infinite = {t.name for t in half.tensors(sample) if not np.isfinite(t.value).all()}
    if infinite:
        found = beyond_float16(exact.tensors(sample))
        yield from (overflow for overflow in found if overflow.output in infinite)


def _input_layers(path: Path, layers: tuple[Layer, ...]) -> list[Layer]:
    found = [layer for layer in layers if layer.type == "Input"]
    if not found or any(len(layer.outputs) != 1 for layer in found):
        raise ArtifactError(
            f"{path} has {len(found)} inputs.", hint="A file with an input of one blob is needed."
        )
    return found


def _outputs(layers: tuple[Layer, ...]) -> list[str]:
    """Blobs that no layer takes, in order."""
    used = {blob for layer in layers for blob in layer.inputs}
    return [blob for layer in layers for blob in layer.outputs if blob not in used]


def _rounded_to_float16(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """``layers`` with every blob rounded to float16 that a device would store so.

    ncnn converts a blob when a layer that may have float16 makes it or takes it; a blob between two
    layers whose masks forbid that stays float32. A ``Split`` copies nothing, so what it hands on is
    rounded already, unless it is masked. Integers are not rounded.
    """

    def exact(layer: Layer | None) -> bool:
        return layer is not None and bool(layer.mask & _NO_FLOAT16_STORAGE)

    consumers = {blob: layer for layer in layers for blob in layer.inputs}
    made: list[Layer] = []
    for layer in layers:
        done = (layer.type == "Split" and not exact(layer)) or gives_integers(layer)
        rounded = [
            blob
            for blob in layer.outputs
            if not done and not (exact(layer) and exact(consumers.get(blob, layer)))
        ]
        outputs = tuple(f"{blob}:exact" if blob in rounded else blob for blob in layer.outputs)
        made.append(replace(layer, outputs=outputs))
        for blob in rounded:
            made.append(_cast(f"{blob}:exact", f"{blob}:half", _FLOAT32, _FLOAT16))
            made.append(_cast(f"{blob}:half", blob, _FLOAT16, _FLOAT32))
    return tuple(made)


def _cast(source: str, target: str, before: int, after: int) -> Layer:
    words = (f"0={before}", f"1={after}")
    return Layer("Cast", target, (source,), (target,), {}, words)


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> Session:
    """Load a ``.param`` file and its ``.bin``; a second session has ncnn's default options.

    Raises:
        ArtifactError: a file is missing or damaged, or ncnn cannot run it.
    """
    layers, facts = _read(path)
    session = _NcnnSession(path, layers, outputs, half=False)
    session.precision = _precision(layers, facts)
    default = _NcnnSession(path, layers, outputs, half=True)
    if not all(session.inputs.values()):
        raise ArtifactError(
            f"The line of Input in {path} does not say the size of the image.",
            hint="ncnn may crash on such a file. Write the size behind the name of the blob: "
            "0=width 1=height 2=channels; or 2=channels alone where it takes any.",
        )
    if not session.free:
        _probe(session.inputs, session, default)
    session.variants = (default,)
    return session


def _read(path: Path) -> tuple[tuple[Layer, ...], dict[str, int | None]]:
    with reading(path, "ncnn"):
        return _read_both(path)


def _read_both(path: Path) -> tuple[tuple[Layer, ...], dict[str, int | None]]:
    layers = read_param(path)
    weights = path.with_suffix(_WEIGHTS_SUFFIX)
    if not weights.is_file():
        raise ArtifactError(
            f"{weights} does not exist; it holds the weights of {path}.",
            hint="Keep the two files in one folder, under one name.",
        )
    return layers, vars(read_weights(layers, weights))


def _probe(shapes: Mapping[str, Sequence[int]], *sessions: _NcnnSession) -> None:
    """Run each session once in a process of its own, because a crash cannot be caught.

    Args:
        shapes: of its inputs, with a batch.

    Raises:
        ArtifactError: it crashed, or ncnn refused the file.
    """
    first = sessions[0]
    job = {
        "inputs": {name: shape[1:] for name, shape in shapes.items()},
        "outputs": list(first.outputs),
        "runs": [{"param": param_text(s.executed), "options": s.options} for s in sessions],
    }
    words = [str(first.path.with_suffix(_WEIGHTS_SUFFIX))]
    probe = f"{__package__}.probe"
    ended = run_module(probe, words, limits=Limits(_PROBE_SECONDS), text=json.dumps(job))
    if ended.code != 0:
        reason = ended.crash or "it refused"
        reason += f"; last it said: {ended.last_line}" if ended.last_line else ""
        raise ArtifactError(f"ncnn cannot run {first.path}: {reason}.", hint="Export it again.")


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is that of an input, whose extents of 0 are free."""
    pairs = zip(given, wanted, strict=False)
    return len(given) == len(wanted) and all(b in (0, a) for a, b in pairs)


def _words(shape: tuple[int, ...]) -> str:
    return str(shape) if all(shape) else str(shape).replace(" 0", " any")


def _shape(layer: Layer) -> list[int]:
    """Shape of an ``Input`` layer, with a batch of 1, or nothing when the file does not say.

    ncnn has one to four axes: width; height, width; channels, height, width; or with a depth. With
    channels alone, height and width are free, and 0 here.
    """
    channels, depth, height, width = (layer.number(key) for key in (2, 11, 1, 0))
    if channels and not (depth or height or width):
        return [1, channels, 0, 0]
    shape = [channels, depth, height, width] if depth else [channels, height, width]
    while len(shape) > 1 and not shape[0]:
        shape = shape[1:]
    return [1, *shape] if all(shape) else []


def _extents(layer: Layer) -> list[int | str]:
    """The shape of an ``Input`` for people: free extents by name, as ONNX has them."""
    shape = _shape(layer)
    return [*shape[:2], "height", "width"] if 0 in shape else [*shape]


def _precision(layers: Sequence[Layer], weights: Mapping[str, int | None]) -> str:
    """The lowest precision among the stored weights."""
    if any(map(is_quantized, layers)):
        return "int8"
    return "fp16" if weights["halves"] else "fp32"


def describe(path: Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters and precision of an ncnn model."""
    layers, weights = _read(path)
    masked = sum(layer.is_kept_in_float32 for layer in layers)
    return {
        "inputs": [
            {"name": layer.outputs[0], "shape": _extents(layer), "dtype": "float32"}
            for layer in layers
            if layer.type == "Input"
        ],
        "outputs": [{"name": name, "dtype": "float32"} for name in _outputs(layers)],
        "ops": dict(Counter(layer.type for layer in layers).most_common()),
        "parameters": weights["elements"],
        "precision": _precision(layers, weights),
        "layers_kept_in_fp32": masked,
    }
