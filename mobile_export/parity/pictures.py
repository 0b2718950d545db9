"""The user's own pictures as inputs of the parity check: a folder of files of unknown origin.

PNG and JPEG files are decoded by Pillow, after their size was read from the header; ``.npy`` and
``.npz`` files by NumPy, without pickle. A picture is turned as its EXIF orientation says, brought
to the colours of the model's input (transparency is dropped, CMYK and palettes are converted, 16
bits become 8), and cropped in the middle to the shape of the input and resized, bilinear.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..artifacts.words import is_one_picture
from ..errors import MobileExportError, UsageError, summary
from ..graph.specs import InputSpec
from ..sources.zips import members, read_member
from ..system.files import MIB, read_regular_file
from ..system.pictures import MOST_PIXELS, SUFFIXES, decode_picture, in_colours, pillow
from .samples import Sample, normalise

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_PICTURES", "picture_files", "read_file", "read_pictures", "require_one_picture"]

MOST_PICTURES = 32
"""Each is run by the model in float64 and by every file; more are left out."""

_ARRAYS = (".npy", ".npz")
_LARGEST_FILE = 256 * MIB
_VALID = f"Valid are pictures ({', '.join(SUFFIXES)}) and arrays ({', '.join(_ARRAYS)})."


def picture_files(
    folder: Path, *, most: int | None = MOST_PICTURES, argument: str = "samples"
) -> tuple[Path, ...]:
    """The files of a folder that can be samples, by name, the first ``most`` of them.

    Args:
        most: None for all.
        argument: that the folder was given as, for messages.

    Raises:
        UsageError: it is no folder, or has no such file.
    """
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES + _ARRAYS and not path.name.startswith(".")
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"`{argument}` {folder} is no folder that can be read: {reason}.",
            hint=f"Give a folder. {_VALID}",
        ) from error
    if not found:
        raise UsageError(f"`{argument}` {folder} has no picture and no array in it.", hint=_VALID)
    return tuple(found[:most])


def read_pictures(folder: Path, spec: InputSpec, *others: InputSpec) -> tuple[Sample, ...]:
    """The samples of a folder for a model that takes ``spec``.

    Arrays of 8-bit numbers, (H, W), (H, W, C) or of the input's own shape, are pictures; those of
    other numbers are inputs as the model takes them: of its shape, with or without the batch.

    Raises:
        UsageError: there is no such folder, or a file in it is no picture, damaged, too large, or
            of another shape than the input.
        MissingExtraError: it has pictures, and Pillow is not installed.
    """
    require_one_picture(
        (spec, *others), hint="Leave `samples` out: values are drawn for each of these inputs."
    )
    samples: list[Sample] = []
    for path in picture_files(folder):
        samples += read_file(path, spec)
    return tuple(samples[:MOST_PICTURES])


def require_one_picture(inputs: Sequence[InputSpec], hint: str, argument: str = "samples") -> None:
    """Raise UsageError where a model takes anything but one image of float32."""
    if not is_one_picture(inputs):
        raise UsageError(
            f"`{argument}` are pictures for one image of float32; the model takes "
            f"{', '.join(map(str, inputs))}.",
            hint=hint,
        )


def read_file(path: Path, spec: InputSpec, argument: str = "samples") -> tuple[Sample, ...]:
    """The samples of one file: one of a picture or a ``.npy`` file, any number of a ``.npz`` file.

    Args:
        argument: that it, or its folder, was given as, for messages.

    Raises:
        UsageError: as of `read_pictures`.
    """
    content = read_regular_file(path, limit=_LARGEST_FILE, error=UsageError)
    try:
        return tuple(_samples(path, content, spec, argument))
    except MobileExportError:
        raise
    except Exception as error:  # a decoder may raise anything
        raise _unreadable(path, summary(error), argument) from error


def _unreadable(path: Path, why: str, argument: str) -> UsageError:
    return UsageError(
        f"{path} of `{argument}` cannot be read: {why}.", hint=f"Repair or remove it. {_VALID}"
    )


def _samples(path: Path, content: bytes, spec: InputSpec, argument: str) -> Iterator[Sample]:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        yield _picture(path.name, decode_picture(content), spec, argument)
    elif suffix == ".npy":
        yield from _of_arrays(path, path.name, _array(content), spec, argument)
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name, info in members(archive, len(content)).items():
                array = _array(read_member(archive, info, _LARGEST_FILE))
                inside = f"{path.name}:{name.removesuffix('.npy')}"
                yield from _of_arrays(path, inside, array, spec, argument)


def _array(content: bytes) -> np.ndarray:
    """A ``.npy`` file, whose header has to say what the file holds before any memory is taken.

    Raises:
        ValueError: it is damaged, or holds objects.
    """
    stream = io.BytesIO(content)
    form: Any = np.lib.format
    first = form.read_magic(stream) == (1, 0)
    read_header = form.read_array_header_1_0 if first else form.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    left = len(content) - stream.tell()
    if dtype.hasobject or dtype.kind not in "biuf":
        raise ValueError(f"it holds values of type {dtype}")
    if min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"an array {shape} of {dtype} does not have {left:,} bytes")
    values = np.frombuffer(content, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def _of_arrays(
    path: Path, name: str, array: np.ndarray, spec: InputSpec, argument: str
) -> Iterator[Sample]:
    """One sample, or one for each place on the first axis of a batch."""
    batch = array.ndim == len(spec.shape) and array.shape[1:] == spec.shape[1:]
    if batch and spec.shape[0] == 1 and len(array) > 1:
        for index in range(len(array)):
            inside = f"{name}[{index}]"
            yield _of_array(path, inside, array[index : index + 1], spec, argument)
    else:
        yield _of_array(path, name, array, spec, argument)


def _of_array(path: Path, name: str, array: np.ndarray, spec: InputSpec, argument: str) -> Sample:
    whole = array if array.ndim == len(spec.shape) else array[None]
    if whole.shape == spec.shape:
        values = torch.from_numpy(np.ascontiguousarray(whole, dtype=np.float32))
        if array.dtype == np.uint8:
            return Sample(name, normalise(values, spec).float(), values)
        if not torch.isfinite(values).all():
            raise _unreadable(path, f"{name} holds NaN or infinity", argument)
        return Sample(name, values)
    if array.dtype == np.uint8 and (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _BANDS)
    ):
        pixels = array.squeeze(2) if array.shape[2:] == (1,) else array
        if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
            large = f"it is {pixels.shape[1]}x{pixels.shape[0]} pixels large"
            raise _unreadable(path, large, argument)
        return _picture(name, pillow().fromarray(pixels), spec, argument)
    raise UsageError(
        f"{name} of `{argument}` has shape {array.shape} and type {array.dtype}; the model takes "
        f"{spec.shape}.",
        hint="Valid are inputs of that shape, as the model takes them, and 8-bit pictures: "
        "(height, width, channels).",
    )


_BANDS = (1, 3, 4)


def _picture(name: str, image: Image, spec: InputSpec, argument: str) -> Sample:
    """A picture in the shape and colours of the input."""
    from PIL import Image as library
    from PIL import ImageOps

    modes: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
    if spec.shape[1] not in modes:
        raise UsageError(
            f"{name} of `{argument}` is a picture; the model takes {spec.shape[1]} channels.",
            hint=f"Give arrays (.npy) of the shape {spec.shape}.",
        )
    height, width = spec.size
    fitted = ImageOps.fit(
        in_colours(image, modes[spec.shape[1]]), (width, height), method=library.Resampling.BILINEAR
    )
    array = np.asarray(fitted, dtype=np.float32).reshape(height, width, -1).transpose(2, 0, 1)
    if spec.channel_order == "BGR":
        array = array[::-1]
    if len(spec.shape) == 5:  # a clip pans over it by two pixels a frame
        array = np.stack([np.roll(array, 2 * t, axis=2) for t in range(spec.shape[2])], axis=1)
    pixels = torch.from_numpy(np.ascontiguousarray(array))[None].repeat(
        spec.shape[0], *(1,) * array.ndim
    )
    return Sample(name, normalise(pixels, spec).float(), pixels)
