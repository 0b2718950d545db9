"""Load a TNN model and run it in PyTorch, in float32.

Weights that are stored as float16 are widened, as TNN's naive, x86 and (without its half-precision
mode) ARM devices do when they load a file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ....artifacts.damage import reason
from ....errors import ArtifactError, ExecutionError, UnsupportedOpError
from . import layers as _layers  # noqa: F401  (fills LAYERS)
from .layers.integers import dequantized, quantized
from .proto import FormatError, LayerText, Proto, parse_proto
from .table import LAYERS, Params
from .weights import Weights, parse_model

__all__ = ["TnnNetwork", "Watch", "WatchIntegers", "load_network", "model_path"]

WatchIntegers = Callable[[str, torch.Tensor, float], None]
"""Called with (blob name, int8 values, scale) for every blob of integers that has one scale."""

Watch = Callable[[LayerText, str, torch.Tensor], None]
"""Called after every layer with (layer, blob name, value)."""

_SCALE = "_scale_data_"
"""Behind the name of a blob of integers, in the name of its scale (``BLOB_SCALE_SUFFIX``)."""

_LARGEST_INPUT = 2**28
"""Elements."""
_HINT = "Run the model with TNN itself; the covered layers are listed in docs/tnn.md."


def model_path(proto: Path) -> Path:
    """The file of weights that belongs to a ``.tnnproto`` file."""
    return proto.with_suffix(".tnnmodel")


def load_network(path: Path) -> TnnNetwork:
    """Load a ``.tnnproto`` file and the ``.tnnmodel`` file beside it.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    path = Path(path)
    try:
        proto = parse_proto(path.read_text(encoding="utf-8"))
        weights = parse_model(model_path(path).read_bytes())
        return TnnNetwork(proto, weights)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{error.filename} does not exist.",
            hint="Keep the .tnnproto and the .tnnmodel file in one folder, under one name.",
        ) from error
    except (FormatError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read as a TNN model: {reason(error)}.",
            hint="Valid is a .tnnproto file with its .tnnmodel, as mobile-export or TNN's own "
            "converter writes them. Copy both again.",
        ) from error


class TnnNetwork:
    """A TNN model, parsed once, that can be run any number of times.

    Attributes:
        proto: its text.
        inputs: what ``run`` has to be given.
        outputs: the names of what it returns.
        precision: "int8" when a layer is one of integers, "fp16" when a weight is stored as
            float16, else "fp32".
    """

    def __init__(self, proto: Proto, weights: Weights) -> None:
        self.proto = proto
        self.inputs = proto.inputs
        self.outputs = proto.outputs
        self._check(weights)
        self._scales = {
            name.removesuffix(_SCALE): torch.from_numpy(np.array(fields["scale"]))
            for name, fields in weights.layers.items()
            if name.endswith(_SCALE)
        }
        weights = replace(
            weights, layers={k: v for k, v in weights.layers.items() if not k.endswith(_SCALE)}
        )
        self._of_integers = {
            name for layer in proto.layers if _is_quantized(layer) for name in layer.outputs
        }
        arrays = [a for fields in weights.layers.values() for a in fields.values()]
        self._count = sum(a.size for a in (*arrays, *weights.constants.values()))
        self._weights = {
            name: {field: _tensor(array) for field, array in fields.items()}
            for name, fields in weights.layers.items()
        }
        self._halves = {
            (name, field)
            for name, fields in weights.layers.items()
            for field, array in fields.items()
            if array.dtype == np.float16
        }
        self.precision = "fp16" if self._halves else "fp32"
        if self._of_integers:
            self.precision = "int8"
        self._constants = {name: _tensor(array) for name, array in weights.constants.items()}

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and content of every array of weights, as it is stored, and of every constant; not
        of layers of integers."""
        quantized = {layer.name for layer in self.proto.layers if _is_quantized(layer)}
        for layer, fields in self._weights.items():
            for field, each in fields.items() if layer not in quantized else ():
                half = (layer, field) in self._halves
                yield f"{layer}.{field}", (each.half() if half else each).numpy()
        yield from ((name, each.numpy()) for name, each in self._constants.items())

    def stored_integers(self) -> Iterator[tuple[LayerText, Mapping[str, torch.Tensor], float]]:
        """Every layer that multiplies integers, its arrays, and the scale of what it reads."""
        for layer in self.proto.layers:
            fields = self._weights.get(layer.name, {})
            if _is_quantized(layer) and "scale" in fields:
                yield layer, fields, float(self._scales[layer.inputs[0]][0])

    def op_counts(self) -> Counter[str]:
        """How often each type of layer is used."""
        return Counter(layer.type for layer in self.proto.layers)

    def parameter_count(self) -> int:
        """Number of weights and constants."""
        return self._count

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """For every blob that a layer makes, the blobs (no constants) it is computed from."""
        return {
            name: tuple(blob for blob in layer.inputs if blob not in self._constants)
            for layer in self.proto.layers
            for name in layer.outputs
        }

    def unsupported(self) -> tuple[str, ...]:
        """The layer types of this model that ``run`` cannot execute."""
        return tuple(sorted(type_ for type_ in self.op_counts() if type_ not in LAYERS))

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        watch: Watch | None = None,
        watch_integers: WatchIntegers | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Execute the model.

        Args:
            inputs: one array per input name, batch included.
            watch: called after every layer.
            watch_integers: called for every blob of integers, those that TNN makes of floats in
                front of a layer of integers included.

        Returns:
            One array per output name.

        Raises:
            UnsupportedOpError: a layer has no implementation here.
            ExecutionError: an input is missing or of another shape, or a layer failed.
        """
        missing = self.unsupported()
        if missing:
            raise UnsupportedOpError(
                f"The TNN evaluator has no layer {', '.join(missing)}.", hint=_HINT
            )
        blobs = {**self._constants, **self._feed(inputs)}
        last_use = self._last_uses()
        with torch.inference_mode():
            for index, layer in enumerate(self.proto.layers):
                given = [self._as_read(layer, name, blobs[name]) for name in layer.inputs]
                if watch_integers is not None and _is_quantized(layer):
                    self._show(zip(layer.inputs, given, strict=True), watch_integers)
                results = self._execute(layer, given)
                for name, result in zip(layer.outputs, results, strict=True):
                    blobs[name] = result
                    if watch is not None:
                        watch(layer, name, self._as_floats(name, result))
                    if watch_integers is not None and name in self._of_integers:
                        self._show([(name, result)], watch_integers)
                for name in last_use.get(index, ()):
                    del blobs[name]
            return {name: self._as_floats(name, blobs[name]).numpy() for name in self.outputs}

    def _as_floats(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return dequantized(value, self._scales[name]) if name in self._of_integers else value

    def _as_read(self, layer: LayerText, name: str, value: torch.Tensor) -> torch.Tensor:
        """A blob as a layer takes it: TNN brings it to integers or floats in front of the layer,
        where the layer that made it is of the other kind (``NetOptimizerInsertInt8Reformat``)."""
        if not _is_quantized(layer):
            return self._as_floats(name, value)
        return value if name in self._of_integers else quantized(value, self._scales[name])

    def _show(
        self, blobs: Iterable[tuple[str, torch.Tensor]], watch_integers: WatchIntegers
    ) -> None:
        for name, value in blobs:
            if self._scales[name].numel() == 1:
                watch_integers(name, value, float(self._scales[name]))

    def _execute(self, layer: LayerText, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        try:
            results = LAYERS[layer.type](
                inputs,
                params=Params(layer.params),
                weights=self._weights.get(layer.name, {}),
                outputs=len(layer.outputs),
                scale=self._scales.get(layer.outputs[0]),
            )
        except Exception as error:  # PyTorch raises many types for shapes that do not fit
            shapes = [tuple(x.shape) for x in inputs]
            raise ExecutionError(
                f"The layer {layer.name!r} ({layer.type}) cannot take {shapes} "
                f"with the parameters {' '.join(layer.params)!r}: {error}",
                hint=_HINT,
            ) from error
        if len(results) != len(layer.outputs):
            raise ExecutionError(
                f"The layer {layer.name!r} ({layer.type}) makes {len(results)} blobs, "
                f"but names {len(layer.outputs)}.",
                hint=_HINT,
            )
        return results

    def _last_uses(self) -> dict[int, list[str]]:
        """The blobs that are not needed after each layer."""
        last = {name: index for index, layer in enumerate(self.proto.layers)
                for name in (*layer.outputs, *layer.inputs)}  # fmt: skip
        ends: dict[int, list[str]] = {}
        for name, index in last.items():
            if name not in self.outputs and name not in self._constants:
                ends.setdefault(index, []).append(name)
        return ends

    def _feed(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, torch.Tensor]:
        expected = {spec.name: spec.dims for spec in self.inputs}
        if set(inputs) != set(expected):
            raise ExecutionError(
                f"The model was given the inputs {sorted(inputs)}.",
                hint=f"Valid are exactly {sorted(expected)}.",
            )
        fed = {}
        for name, dims in expected.items():
            array = np.asarray(inputs[name], dtype=np.float32)
            if array.shape != dims:
                raise ExecutionError(
                    f"Input {name!r} was given the shape {array.shape}.", hint=f"Valid is {dims}."
                )
            fed[name] = torch.from_numpy(np.array(array))
        return fed

    def _check(self, weights: Weights) -> None:
        """Every blob is made before it is read, and every set of weights has its layer."""
        for spec in self.inputs:
            if min(spec.dims, default=1) < 1 or math.prod(spec.dims) > _LARGEST_INPUT:
                raise FormatError(f"the input {spec.name!r} has the dimensions {spec.dims}")
        known = {spec.name for spec in self.inputs} | set(weights.constants)
        for layer in self.proto.layers:
            unknown = [name for name in layer.inputs if name not in known]
            if unknown:
                raise FormatError(
                    f"the layer {layer.name!r} reads {unknown[0]!r}, which nothing made"
                )
            known.update(layer.outputs)
        lost = [name for name in self.outputs if name not in known]
        if lost or not self.outputs:
            raise FormatError(f"nothing makes the output {lost[0]!r}" if lost else "no outputs")
        for layer in self.proto.layers:
            blobs = (*layer.inputs, *layer.outputs) if _is_quantized(layer) else ()
            bare = [name for name in blobs if f"{name}{_SCALE}" not in weights.layers]
            if bare:
                raise FormatError(
                    f"the layer of integers {layer.name!r} has no scale of {bare[0]!r}"
                )
        strangers = set(weights.layers) - {layer.name for layer in self.proto.layers}
        strangers -= {f"{name}{_SCALE}" for name in known}
        if strangers:
            raise FormatError(
                f"the .tnnmodel holds weights of {sorted(strangers)[0]!r}, which the .tnnproto "
                "does not have: the two files do not belong together"
            )


def _is_quantized(layer: LayerText) -> bool:
    """As TNN tells (``ModelInterpreter::InterpretLayer``)."""
    return layer.type.startswith("Quantized")


def _tensor(array: np.ndarray) -> torch.Tensor:
    """``array`` as a tensor of its own; float16 becomes float32."""
    kinds = {np.dtype(np.float16): np.float32, np.dtype(np.uint32): np.int64}
    return torch.from_numpy(np.array(array, dtype=kinds.get(array.dtype, array.dtype)))
