"""A TNN model as mobile-export's other commands see it: run, look inside, describe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...artifacts.damage import reading
from ...errors import ExecutionError
from ...graph.specs import PIXELS
from ...parity.overflow import notes_on_values
from ...parity.session import FileTensor, IntegerTensor, Session, Tensor
from ..processing import added_activation
from .evaluator.layers.integers import quantized
from .evaluator.network import TnnNetwork, load_network
from .evaluator.proto import LayerText

if TYPE_CHECKING:
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["describe", "load"]

_ADVICE = (
    "a device that computes in float16 would return infinity or NaN: set "
    "NetworkConfig::precision to PRECISION_HIGH"
)


_MOVING = ("Pad", "PadV2", "Permute", "Reshape")


class _Session(Session):
    """Runs the saved files in our evaluator."""

    runtime = "TNN reference evaluator"
    emulated = True

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        with reading(path, "TNN"):
            self.network = load_network(path)
        self.specs = outputs
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.precision = self.network.precision
        self.takes_pixels = any(each.name == PIXELS for each in self.network.inputs)
        names = self.network.outputs
        self.activation = added_activation(names, outputs)
        wanted = tuple(output.name for output in outputs)
        self.outputs = wanted if set(wanted) <= set(names) else names

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        """The text does not say the shapes of outputs: they are those of the last run."""
        inputs = (FileTensor(s.name, tuple(s.dims), s.dtype) for s in self.network.inputs)
        outputs = (FileTensor(name, self._shapes[name]) for name in self.network.outputs)
        return tuple(inputs), tuple(outputs)

    def _feed(self, sample: Sample) -> dict[str, np.ndarray]:
        """The inputs; of a clip (1, C, T, H, W), TNN's file has no batch, and so four axes."""
        names = [each.name for each in self.network.inputs]
        given = sample.by_name(names, pixels=self.takes_pixels)
        return {s.name: _fitting(given[s.name], s.dims) for s in self.network.inputs}

    def run(self, sample: Sample) -> list[np.ndarray]:
        results = self.network.run(self._feed(sample))
        self._shapes = {name: array.shape for name, array in results.items()}
        arrays = [results[name] for name in self.outputs]
        if len(arrays) != len(self.specs):
            return arrays
        return [  # TNN has no blob without dimensions
            array.reshape(spec.shape) if not spec.shape and array.size == 1 else array
            for array, spec in zip(arrays, self.specs, strict=True)
        ]

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self.network.stored_weights()

    def stored_integers(self) -> Iterator[IntegerTensor]:
        """Weights, and biases, of layers that multiply integers, with a scale for each channel."""
        for layer, fields, source in self.network.stored_integers():
            sums = fields["scale"].numpy().astype(np.float64)
            weights = (sums / source).astype(np.float32) if source else sums
            yield IntegerTensor(layer.name, fields["weight"].numpy(), tuple(weights.tolist()))
            bias = fields.get("bias")
            if bias is not None and bias.numel():
                yield IntegerTensor(layer.name, bias.numpy(), tuple(sums.tolist()))

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        """Every blob of integers. Where floats were moved or padded in front of a layer of
        integers, which rounds them behind that, they are rounded as they were before, too."""
        found: list[IntegerTensor] = []
        floats: dict[str, torch.Tensor] = {}
        makers = {name: layer for layer in self.network.proto.layers for name in layer.outputs}

        def keep(layer: LayerText, name: str, value: torch.Tensor) -> None:
            floats[name] = value

        def watch(name: str, value: torch.Tensor, scale: float) -> None:
            found.append(IntegerTensor(name, value.numpy().astype(np.int64), (scale,)))
            maker = makers.get(name)
            while maker is not None and maker.type in _MOVING and maker.inputs[0] in floats:
                name = maker.inputs[0]
                integers = quantized(floats[name], torch.tensor(scale)).numpy().astype(np.int64)
                found.append(IntegerTensor(name, integers, (scale,)))
                maker = makers.get(name)

        fed = self._feed(sample)
        floats |= {name: torch.from_numpy(array).float() for name, array in fed.items()}
        self.network.run(fed, watch=keep, watch_integers=watch)
        yield from found

    def overflow_notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """The evaluator computes in float32; TNN in float16 where a device does that."""
        if self.precision != "fp16":
            return ()
        return notes_on_values(self.tensors, samples, _ADVICE)

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        inputs = self.network.dependencies()
        found: list[Tensor] = []

        def watch(layer: LayerText, name: str, value: torch.Tensor) -> None:
            module = self.modules.get(layer.name)
            found.append(Tensor(name, inputs[name], value.numpy(), module, layer.type))

        self.network.run(self._feed(sample), watch=watch)
        yield from found


def _fitting(tensor: torch.Tensor, dims: Sequence[int]) -> np.ndarray:
    """In the dimensions of the file's input, where only axes of one element differ: TNN has no
    blob with three of them or with one, and none of a clip's batch."""
    array = tensor.float().numpy()
    full = [n for n in array.shape if n > 1] == [n for n in dims if n > 1]
    return array.reshape(dims) if full and array.ndim != len(dims) else array


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _Session:
    """Load a ``.tnnproto`` and its ``.tnnmodel``.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    return _Session(path, outputs)


def describe(path: Path) -> dict[str, Any]:
    """Inputs, outputs, layer counts, weights and precision of a model."""
    with reading(path, "TNN"):
        network = load_network(path)
        shapes = _output_shapes(network)
    return {
        "inputs": [
            {"name": spec.name, "shape": list(spec.dims), "dtype": spec.dtype}
            for spec in network.inputs
        ],
        "outputs": [
            {"name": name, "shape": list(shapes.get(name, ())), "dtype": "float32"}
            for name in network.outputs
        ],
        "ops": dict(network.op_counts().most_common()),
        "parameters": network.parameter_count(),
        "precision": network.precision,
        "version": f"proto version {network.proto.version}",
        "metadata": {},
    }


def _output_shapes(network: TnnNetwork) -> dict[str, tuple[int, ...]]:
    """Dimensions of every output, which the text does not say: those of a run on zeros.

    None for a model with layers that the evaluator lacks.
    """
    try:
        results = network.run({spec.name: np.zeros(spec.dims) for spec in network.inputs})
    except ExecutionError:
        return {}
    return {name: array.shape for name, array in results.items()}
