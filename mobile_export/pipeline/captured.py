"""A model as it was loaded and traced, at each size that files take, with its references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import (
    MobileExportError,
    SourceError,
)
from ..graph.capture import trace
from ..graph.free_axes import unnamed_sizes
from ..graph.program import Program
from ..graph.source import Source
from ..graph.specs import InputSpec
from ..parity.pictures import picture_files, read_pictures
from ..parity.reference import (
    Reference,
    make_reference,
    require_independent,
)
from ..parity.samples import Sample, parity_samples, pixel_samples, stronger_samples
from ..parity.strong import Strong, strong_references

if TYPE_CHECKING:
    pass

__all__ = ["Captured", "Progress", "References", "capture", "said"]

Progress = Callable[[str], None]


class References:
    """The reference of a model, computed once for normalised inputs and once for pixels.

    Args:
        pictures: the user's own samples, which are run as well.
    """

    def __init__(self, source: Source, program: Program, pictures: Sequence[Sample] = ()) -> None:
        self._source, self._program = source, program
        self._pictures = tuple(pictures)
        depends = enumerate(program.depends_on_input())
        self._fixed = frozenset(index for index, reached in depends if not reached)
        self._made: dict[bool, Reference] = {}
        self._strong: dict[bool, tuple[Strong, ...]] = {}

    def strong(self, *, pixels: bool = False) -> tuple[Strong, ...]:
        """For the strong, the bright and the dark input, where there are any (`parity.strong`)."""
        if pixels not in self._strong:
            specs = self._program.inputs
            self._strong[pixels] = strong_references(self._source.module, specs, pixels=pixels)
        return self._strong[pixels]

    @property
    def labels_given(self) -> bool:
        """Whether the names of the classes are the user's."""
        return self._source.labels_given

    def own(self, *, pixels: bool = False) -> tuple[Sample, ...]:
        """The user's own samples that can be given so."""
        return tuple(each for each in self._pictures if each.pixels is not None or not pixels)

    def get(self, *, pixels: bool = False) -> Reference:
        if pixels not in self._made:
            specs = self._program.inputs
            samples = pixel_samples(specs[0]) if pixels else parity_samples(*specs)
            own = self.own(pixels=pixels)
            self._made[pixels] = make_reference(
                self._source.module,
                (*samples[:-1], *own, samples[-1]),
                stronger_samples(*specs, pixels=pixels),
                self._fixed,
            )
            asked = self._program.asked
            if (asked.get("batch") or 1) > 1 or (
                asked.get("dynamic") == "batch" and specs[0].shape[0] > 1
            ):
                names = [output.name for output in self._program.outputs]
                require_independent(self._source.module, self._made[pixels], names)
        return self._made[pixels]


def capture(
    load: Callable[[], Source],
    progress: Progress,
    label: str = "loading",
    samples: Path | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    *,
    free: bool = False,
    dynamic: str | None = None,
) -> tuple[tuple[Program, References], ...]:
    """Load a model and trace it at each size; its references are computed when they are asked for.

    Args:
        samples: a folder of the user's own.
        sizes: (height, width) of one image; none for what the source has.
        free: also at sizes that are not named, behind the others, of which a file with free axes
            is made and at which it is checked.
        dynamic: what files leave open, "batch" or "size"; then in all shapes that these are made
            from and checked in (`Source.with_open`).
    """
    if samples is not None:
        picture_files(samples)  # before anything that takes time
    progress(label)
    loaded = load()
    if dynamic is not None:
        return _in_open_shapes(loaded, dynamic, progress, samples)
    found = []
    for source in [loaded.at_size(size) for size in sizes] if len(sizes) > 1 else [loaded]:
        pictures = () if samples is None else read_pictures(samples, source.input, *source.others)
        progress("tracing" + (f" at {said(source.input)}" if len(sizes) > 1 else ""))
        program = trace(source)
        found.append((program, References(source, program, pictures)))
    for size in unnamed_sizes(sizes) if free else ():
        source = loaded.at_size(size)
        with suppress(MobileExportError):  # a model may take only what was named
            program = trace(source)
            references = References(source, program)
            references.get()
            found.append((program, references))
    return tuple(found)


def _in_open_shapes(
    loaded: Source, dynamic: str, progress: Progress, samples: Path | None
) -> tuple[tuple[Program, References], ...]:
    """A model traced in every shape that a file is made from and checked in; that which the user
    named has his own samples, too.

    Raises:
        SourceError: it does not take one of them.
    """
    found = []
    for source in loaded.with_open(dynamic):
        progress(f"tracing at {said(source.input, dynamic)}")
        named = source.input.shape == loaded.input.shape
        pictures = () if samples is None or not named else read_pictures(samples, source.input)
        try:
            program = trace(source)
            references = References(source, program, pictures)
            references.get()
        except MobileExportError as error:
            if named:
                raise
            raise SourceError(
                f"`dynamic` {dynamic}: {source.spec} does not take "
                f"{said(source.input, dynamic)}. {error.message}",
                hint="Leave it out, or name the sizes that the model takes with `size`."
                if dynamic == "size"
                else "Leave it out, or name one number with `batch`.",
            ) from error
        found.append((program, references))
    return tuple(found)


def said(image: InputSpec, dynamic: str | None = None) -> str:
    """Its size in words; or how many images there are, where files leave that open."""
    if dynamic == "batch":
        return "1 image" if image.shape[0] == 1 else f"{image.shape[0]} images"
    return "x".join(map(str, image.size))


Captured = tuple[tuple[Program, References], ...]
