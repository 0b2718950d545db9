"""Session: a file that is loaded and ready to run. Formats implement it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from ..detection import Detections, Suppression
    from ..graph.program import Program
    from .samples import Sample

__all__ = ["Detector", "FileTensor", "IntegerTensor", "Session", "Tensor"]


@dataclass(frozen=True)
class Tensor:
    """One value inside an artifact: its name, what it was computed from, and what came out.

    Attributes:
        inputs: names of the tensors that its operation read; constants may be among them.
        module: path of the PyTorch module it came from, where the file says so.
        op: the type of the operation, in the words of the format.
    """

    name: str
    inputs: tuple[str, ...]
    value: np.ndarray
    module: str | None = None
    op: str = ""


@dataclass(frozen=True)
class IntegerTensor:
    """Integers that a file stores or computed, in its layout: (value - zero_point) · scale.

    Attributes:
        scales: one, or one for each place on some axis.
        zero_point: of stored tensors with several, the one of the largest magnitude.
    """

    name: str
    value: np.ndarray
    scales: tuple[float, ...]
    zero_point: int = 0

    @property
    def scale(self) -> float:
        """The one, or the first."""
        return self.scales[0]


@dataclass(frozen=True)
class FileTensor:
    """An input or output of a file, as its runtime has it.

    Attributes:
        name: by which an app gives or takes it.
        shape: in the file's order of axes; None is what depends on the image.
        dtype: in NumPy's words; ``str`` and ``dict`` of what is no array.
        inner: name of the tensor inside the file, where that is another one.
        image: the channel order of an input that is an image, and no array.
        optional: it has a value of its own.
        label: it is the name of the best class.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    inner: str | None = None
    image: str | None = None
    optional: bool = False
    label: bool = False


class Detector(Protocol):
    """An artifact that ends with non-maximum suppression.

    Attributes:
        suppression: as the file says.
    """

    suppression: Suppression

    def detect(self, sample: Sample) -> tuple[list[np.ndarray], Detections]:
        """Boxes and scores in front of the suppression, in the program's order, and the rest.

        All boxes are left, top, right, bottom in pixels.
        """


class Session:
    """An artifact loaded and ready to run; the base class of every format's own.

    Attributes:
        runtime: what executes it, with its version.
        emulated: True when that is one of our evaluators instead of the vendor's runtime.
        precision: the lowest that is in the file, of stored weights or of arithmetic.
        arithmetic: that this session executes it in: ``fp16`` where results are rounded so.
        takes_pixels: the input is 0 to 255 and normalised inside.
        activation: "softmax" when the file turns the program's logits into probabilities.
        variants: the same file under other options that a device may run it with; checked as well.
        remedy: of a variant, how a device is kept from running the file so.
        modules: path of the PyTorch module of each value in the program, by the value's name.
        detector: of a file that ends with non-maximum suppression, else None.
        shows_tensors: whether it can say what it computes inside (`tensors`, `integers`).
        steps: absolute errors of the runtime's own code for an operator, by its name in ATen, where
            they are no share of the result: a result that is as small is mostly error.
    """

    runtime: str
    emulated: bool = False
    precision: str = "fp32"
    arithmetic: str = "fp32"
    takes_pixels: bool = False
    activation: str | None = None
    variants: tuple[Session, ...] = ()
    remedy: str = ""
    modules: Mapping[str, str] = MappingProxyType({})
    detector: Detector | None = None
    shows_tensors: bool = True
    steps: Mapping[str, float] = MappingProxyType({})

    def interface(self) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
        """What the file takes and what it gives, in its own order; called after `run`."""
        raise NotImplementedError

    def run(self, sample: Sample) -> list[np.ndarray]:
        """Outputs in the program's order and layout (NCHW for rank 4).

        Of a file that ends with detections: the boxes and scores in front of the suppression.
        """
        raise NotImplementedError

    def notes(self) -> tuple[str, ...]:
        """What its runs so far showed that a reader of the report should know."""
        return ()

    def overflow_notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """What a device would compute in float16 that float16 cannot hold (`parity.overflow`)."""
        return ()

    def class_names(self) -> Mapping[str, Sequence[str]]:
        """What the file calls its classes, in their order, by where in the file that stands."""
        return {}

    def keeps_names(self, program: Program, names: Sequence[str]) -> bool:
        """Whether files that are written from ``program`` have the names of the classes."""
        return False

    def stored_integers(self) -> Iterator[IntegerTensor]:
        """Every tensor of integers with a scale that the file stores; of floats, nothing."""
        return iter(())

    def stored_floats(self) -> Iterator[np.ndarray]:
        """Every tensor of floats that the file stores, where its format has no integers of 32 bits
        and stores what a bias stands for; elsewhere, nothing."""
        return iter(())

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and content of every array of floats that the file stores, as it stores them."""
        return iter(())

    def looked_up(self) -> Iterator[np.ndarray]:
        """Every tensor that is stored as indices into a table of floats, or as integers with scales
        of blocks: the float32 numbers that are meant."""
        return iter(())

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        """Every tensor of integers with one scale that the file computes for ``sample``, without
        the runtime's own rewriting, so that each operator is there."""
        return iter(())

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        """Every intermediate tensor, in execution order."""
        raise NotImplementedError
