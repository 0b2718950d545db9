"""Calibration data: the samples that ranges are measured on, and others to judge the result by.

A folder of pictures and arrays is read as that of a parity check (`parity.pictures`), a ``.npz``
file may hold many inputs in one array, and synthetic images have natural statistics
(`parity.samples`). Every fourth sample, up to `HELD_OUT`, is not calibrated on: accuracy is
measured on what the calibration has not seen.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..parity.pictures import picture_files, read_file, require_one_picture
from ..parity.samples import Sample, synthetic_sample
from .plan import SampleFile

if TYPE_CHECKING:
    from ..graph.specs import InputSpec

__all__ = ["HELD_OUT", "SYNTHETIC", "CalibrationData", "calibration_data", "require_data"]

SYNTHETIC = "synthetic"
"""In the place of a folder or a file: images that nobody took."""

HELD_OUT = 64
"""At most as many samples are kept from the calibration to judge the result by."""

_EVERY = 4
_SEED = 1000


@dataclass(frozen=True)
class CalibrationData:
    """Samples for calibration, and others.

    Attributes:
        calibration: that ranges are measured on.
        unseen: that the result is judged by.
        data: as `plan.Chosen.data`.
        records: of ``calibration``.
        given: whether ``unseen`` are the user's own ``samples``.
    """

    calibration: tuple[Sample, ...]
    unseen: tuple[Sample, ...]
    data: Literal["folder", "arrays", "synthetic"]
    seed: int = 0
    given: bool = False

    def judged_by(self, pictures: Sequence[Sample]) -> CalibrationData:
        """The same, judged by the pictures that were not calibrated on; by what was kept for that
        where there is none."""
        if not pictures:
            return self
        seen = {record.sha256 for record in self.records}
        unseen = tuple(each for each in pictures if _hash(each) not in seen)
        return replace(self, unseen=unseen, given=True) if unseen else self

    @property
    def records(self) -> list[SampleFile]:
        """The names of the samples and the hashes of what the model is given."""
        return [SampleFile(each.name, _hash(each)) for each in self.calibration]


def _hash(sample: Sample) -> str:
    digest = hashlib.sha256()
    for tensor in sample.all_given():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def calibration_data(
    where: str | Path, inputs: Sequence[InputSpec], count: int | None
) -> CalibrationData:
    """Read or make calibration data.

    Args:
        where: a folder, a ``.npz`` file, or `SYNTHETIC`.
        inputs: of the model.
        count: samples to calibrate on; None for at most `DEFAULT_COUNT`.

    Raises:
        UsageError: there are fewer than two samples or than ``count`` and one more, one cannot be
            read, all are of one colour, or the model takes no picture.
    """
    if str(where) == SYNTHETIC:
        wanted = DEFAULT_SYNTHETIC if count is None else count
        made = tuple(_synthetic(inputs, wanted + -(-wanted // (_EVERY - 1))))
        return _parted(made, count, "synthetic")
    path = Path(where)
    arrays = _is_archive(path)
    require_one_picture(
        inputs,
        hint=f"Give `calibration={SYNTHETIC!r}`: values are drawn for each of these inputs.",
        argument="calibration",
    )
    most = (DEFAULT_COUNT if count is None else count) + HELD_OUT
    files = (path,) if arrays else picture_files(path, most=None, argument="calibration")
    read = (read_file(file, inputs[0], argument="calibration") for file in _spread(files, most))
    found = tuple(itertools.islice(itertools.chain.from_iterable(read), most))
    if len(found) > 1 and all(_is_flat(each) for each in found):
        raise UsageError(
            f"Every sample of `calibration` {where} is of one colour.",
            hint="Give pictures like those that the model will see.",
        )
    return _parted(found, count, "arrays" if arrays else "folder")


DEFAULT_COUNT = 128
DEFAULT_SYNTHETIC = 16


def require_data(where: str | Path) -> None:
    """Refuse, before anything that takes time, a folder in which nothing can be a sample.

    Raises:
        UsageError: it is no folder, no ``.npz`` file and not `SYNTHETIC`, or has no such file.
    """
    if str(where) != SYNTHETIC and not _is_archive(Path(where)):
        picture_files(Path(where), argument="calibration")


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and path.is_file()


def _spread(files: Sequence[Path], most: int) -> tuple[Path, ...]:
    """At most ``most`` files, evenly over their order: a folder is often sorted by classes."""
    if len(files) <= most:
        return tuple(files)
    return tuple(files[index * len(files) // most] for index in range(most))


def _parted(
    samples: Sequence[Sample], count: int | None, data: Literal["folder", "arrays", "synthetic"]
) -> CalibrationData:
    unseen = tuple(samples[_EVERY - 1 :: _EVERY])[:HELD_OUT] or tuple(samples[1:2])
    names = {id(each) for each in unseen}
    seen = tuple(each for each in samples if id(each) not in names)
    most = DEFAULT_COUNT if count is None else count
    if not unseen or not seen or len(seen) < (count or 1):
        raise UsageError(
            f"`calibration` has {len(samples)} samples, of which {len(unseen)} are kept to judge "
            f"the result; {count or 1} are to be calibrated on.",
            hint="Give more pictures, or a smaller `calibration_samples`.",
        )
    return CalibrationData(seen[:most], unseen, data, _SEED if data == "synthetic" else 0)


def _is_flat(sample: Sample) -> bool:
    """Whether every channel has one value."""
    flat = sample.image.flatten(2)
    return bool((flat == flat[..., :1]).all())


def _synthetic(inputs: Sequence[InputSpec], count: int) -> Iterator[Sample]:
    """Images with natural statistics; draws of inputs that are no images."""
    first, *others = inputs
    for index in range(count):
        yield synthetic_sample(f"synthetic-{index}", _SEED + index, first, *others)
