"""Format: what is true of one output format, as plain data.

Every folder of `mobile_export.exporters` has one `ROW` in its ``__init__``; `exporters.table` lists
them. Rows may be read from anywhere: importing them imports no vendor, no torch and no NumPy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..system.install import missing_extra
from ..system.options import check_options, option
from ..system.versions import Library

__all__ = [
    "FLOAT16",
    "FLOAT32",
    "INTEGERS",
    "LAYERED",
    "LOOSEST",
    "BytesOptions",
    "FileOptions",
    "Format",
    "IntegerLayers",
    "OtherRuntime",
    "PassChoice",
    "Precision",
    "Tolerance",
]

LOOSEST = 1e-2
"""No tolerance is looser than this."""


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the reference, relative to max |reference|.

    Attributes:
        limit: the error that is always allowed; above 0, at most `LOOSEST`.
        float32_factor: multiples of PyTorch's own float32 error on the same model and inputs that
            are allowed, if that is more.
    """

    limit: float
    float32_factor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.limit <= LOOSEST or self.float32_factor < 0:
            raise ValueError(f"{self} is not between 0 and {LOOSEST:g}")

    def allowed(self, float32_error: float) -> float:
        """The largest error allowed where PyTorch's own float32 error is ``float32_error``."""
        return max(self.limit, self.float32_factor * float32_error)


FLOAT32 = Tolerance(1e-5, float32_factor=4.0)
FLOAT16 = Tolerance(1e-2)
INTEGERS = Tolerance(1e-2)


@dataclass(frozen=True)
class Precision:
    """A precision that a format is written in.

    Attributes:
        name: on the command line and in reports, for example ``fp16``.
        tolerance: what parity allows.
        bits: of a stored weight.
        arithmetic: the precision of the arithmetic where that differs from that of the weights.
        calibrated: whether it needs sample images.
        integers: whether weights are integers, by a plan (`quantization`); ``tolerance`` is then
            that of what a device computes against the plan, where no rounding is amplified.
        palette: weights are indices into a table, with as many bits as a weight has.
        block: as many input channels share a scale of the weights; None: all.
        dynamic: integers whose scales the runtime chooses while it runs meet the weights.
    """

    name: str
    tolerance: Tolerance
    bits: int
    arithmetic: str | None = None
    calibrated: bool = False
    integers: bool = False
    dynamic: bool = False
    palette: bool = False
    block: int | None = None


@dataclass(frozen=True)
class PassChoice:
    """Graph passes of one format beside the ones that are on by default, by name.

    Attributes:
        add: what its converter lacks, gets wrong or writes slowly.
        without: passes that make its files slower.
        native: ATen operators that it takes as they are though others do not, without overloads.
    """

    add: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    native: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherRuntime:
    """A second program that can execute the files of a format, beside the one that always does.

    Its sessions are in the module ``run_NAME`` of the format's folder, whose ``load`` is like that
    of ``session``.

    Attributes:
        name: on the command line.
        library: that is needed.
        extra: of mobile-export that installs it (`system.install`).
    """

    name: str
    library: Library
    extra: str


_LAYERED = """
    _adaptive_avg_pool3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d acosh adaptive_avg_pool1d adaptive_max_pool3d addbmm addcdiv
    addcmul addmv all angle any argsort asinh baddbmm celu copysign cummax cummin cumprod
    diagonal diagonal_scatter erfc floor_divide fmax fmin fmod glu grid_sampler grid_sampler_2d
    grid_sampler_3d hypot index_add index_copy index_fill index_reduce isfinite isinf isnan
    isneginf isposinf kthvalue ldexp lerp log10 log2 log_sigmoid log_softmax logaddexp
    logaddexp2 logcumsumexp logical_or logical_xor lstm masked_scatter max_pool2d_with_indices
    max_pool3d_with_indices max_unpool2d max_unpool3d median mode nan_to_num nanmean nanmedian
    nanquantile narrow norm prod put quantile remainder repeat_interleave scatter scatter_add
    scatter_reduce select_scatter signbit sinc sort std take tensor_split tile topk trunc unfold
    upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean xlogy
"""
LAYERED = tuple(_LAYERED.split())
"""ATen operators outside the core set that `lowering` has rules for."""


@dataclass(frozen=True)
class IntegerLayers:
    """What a format takes of a plan whose runtime multiplies integers inside single layers.

    It rounds what such a layer reads, with one symmetric scale (zero is stored as 0), multiplies,
    and gives float32, or the integers of the next one. All other layers compute in float32.
    Where its layers give integers only, by a stored scale, ``gives`` is not empty.

    Attributes:
        operators: of ATen, without overload, that have a layer of integers.
        lacks: why others with stored weights have none, by operator.
        grouped: why a convolution of groups of several channels has none; nothing where it has.
        least: integer that a number is rounded to.
        gives: by operator, the activations (``relu``, ``relu6``) that a layer computes before it
            rounds its result.
    """

    operators: tuple[str, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)
    grouped: str = ""
    least: int = -127
    gives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FileOptions:
    """The options of every format: what its files do themselves of what an app would do.

    Attributes:
        image_input: take pixels from 0 to 255 and normalise them inside.
        softmax: give probabilities, where the model gives logits.
        classifier: the same, and the classes have names: in the file where the format has a place
            for them, else in its manifest.
    """

    image_input: bool = option(
        False, help="Take pixels from 0 to 255, normalised inside the file.", flag="--image-input"
    )
    softmax: bool = option(False, help="The output is probabilities.", flag="--softmax")
    classifier: bool = option(
        False, help="The output is probabilities, and the classes have names.", flag="--classifier"
    )

    def __post_init__(self) -> None:
        check_options(self)


_DTYPES = ("float32", "uint8")


@dataclass(frozen=True)
class BytesOptions(FileOptions):
    """The options of a format whose files can take bytes.

    Attributes:
        input_dtype: of the pixels: ``float32`` or ``uint8``.
    """

    input_dtype: str = option(
        "float32", help="Type of pixels in an array: float32 or uint8.", valid=_DTYPES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_dtype != "float32" and not self.image_input:
            raise UsageError(
                f"`input_dtype` {self.input_dtype} is of pixels, and the file takes a normalised "
                "image.",
                hint="Add `image_input=True`, so that the file normalises them.",
            )


@dataclass(frozen=True)
class Format:
    """One output format; its code is in the folder of its name.

    Attributes:
        name: on the command line, in reports, and of the folder.
        title: for people.
        summary: what its command does, one sentence.
        suffix: of the file.
        companions: suffixes of further files without which it is nothing. Each replaces the last
            suffix of the file (``net.ncnn.param`` -> ``net.ncnn.bin``).
        made_from: what its writer takes: "program" (the ATen graph) or "layers" (`lowering`).
        extra: of mobile-export that installs it (`system.install`).
        libraries: that it needs, with the versions that were tested.
        precisions: the default first.
        lacks: precisions that other formats have, each with the reason why this one has not.
        lacks_options: the same of `options`, by field.
        integer_layers: which of its layers multiply integers, where integers are inside single
            layers; a plan is then projected onto them (`quantization.project`).
        passes: its choice of graph passes.
        options: the type of its own options; the metadata of the fields say how they are typed on
            the command line (`exporters.options`).
        integers_as_floats: which whole numbers its files hold as float32: "all", or those that are
            "returned"; "" for none.
        batches: whether its files can take several images at a time.
        sizes: how one file takes images of several sizes, in words; "" where it does not.
        one_graph: it does by one graph for all (`graph.free_axes`); otherwise its writer is given
            the model at every size (`interface.SizesWriter`).
        any_size: such a file takes sizes that were not named, too.
        open_axes: what its files can leave open, of "batch" and "size".
        not_open: why not the others.
        suppresses: whether its files can end with non-maximum suppression.
        faster_forms: what its runtime does to some layers on its own, faster and with more
            rounding, and a file can forbid (`interface.WriteJob.direct`); "" for none.
        checked_by: what executes the file here, for ``doctor`` and the documentation.
        runners: of `bench.runners`, by name: what can time it.
        other_runtimes: what ``verify`` can execute a file with on request.
        apps: sample apps that run its files, by the name of their folder.
    """

    name: str
    title: str
    summary: str
    suffix: str
    made_from: str
    extra: str
    libraries: tuple[Library, ...]
    precisions: tuple[Precision, ...]
    checked_by: str
    companions: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    lacks_options: Mapping[str, str] = field(default_factory=dict)
    integer_layers: IntegerLayers | None = None
    passes: PassChoice = field(default_factory=PassChoice)
    options: type[Any] = FileOptions
    integers_as_floats: str = ""
    batches: bool = True
    sizes: str = ""
    one_graph: bool = False
    any_size: bool = False
    open_axes: tuple[str, ...] = ()
    not_open: str = ""
    suppresses: bool = False
    faster_forms: str = ""
    runners: tuple[str, ...] = ()
    other_runtimes: tuple[OtherRuntime, ...] = ()
    apps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [precision.name for precision in self.precisions]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{self.name}: the precisions {names} are none, or one is there twice")
        if set(self.lacks) & set(names):
            raise ValueError(f"{self.name}: it has and lacks {set(self.lacks) & set(names)}")

    @property
    def gives_integers(self) -> bool:
        """Whether its layers of integers give integers, by a scale that is stored."""
        return self.integer_layers is not None and bool(self.integer_layers.gives)

    def companions_of(self, file: Path) -> tuple[Path, ...]:
        """The files beside ``file`` without which it is nothing; most formats have none."""
        return tuple(file.with_suffix(suffix) for suffix in self.companions)

    def files(self, file: Path) -> tuple[Path, ...]:
        """``file`` and its companions."""
        return (file, *self.companions_of(file))

    def missing(self) -> tuple[str, ...]:
        """Import names that are not installed."""
        names = (library.module for library in self.libraries)
        return tuple(name for name in names if importlib.util.find_spec(name) is None)

    def require(self) -> None:
        """Raise MissingExtraError, with the install command, when a library is missing."""
        missing = self.missing()
        if missing:
            raise missing_extra(self.title, missing[0], self.extra)

    def other_runtime(self, name: str) -> OtherRuntime:
        """The other runtime called ``name``; its library is installed.

        Raises:
            UsageError: there is none of that name.
            MissingExtraError: it is not installed.
        """
        for runtime in self.other_runtimes:
            if runtime.name == name:
                if importlib.util.find_spec(runtime.library.module) is None:
                    raise missing_extra(self.title, runtime.library.module, runtime.extra)
                return runtime
        names = ", ".join(runtime.name for runtime in self.other_runtimes) or "no other"
        raise UsageError(
            f"{self.title} files are not executed with {name!r}.",
            hint=f"Without `runtime`, {self.checked_by} executes them; it may be: {names}.",
        )

    def precision(self, wanted: str | None) -> Precision:
        """The precision called ``wanted``; the default for None.

        Raises:
            UsageError: the format does not have it.
        """
        if wanted is None:
            return self.precisions[0]
        for precision in self.precisions:
            if precision.name == wanted:
                return precision
        valid = ", ".join(precision.name for precision in self.precisions)
        why = f": {self.lacks[wanted]}" if wanted in self.lacks else ""
        raise UsageError(
            f"{self.title} files are not written in {wanted}{why}.",
            hint=f"Valid for {self.name}: {valid}.",
        )
