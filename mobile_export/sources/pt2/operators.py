"""Which operators a ``.pt2`` file may call, and with what.

The list holds what vision models call and the passes know. Nothing on it reads files, runs code,
makes sparse, quantised or custom objects, or trusts its numbers about where memory lies;
`check_values` checks what PyTorch's own kernels leave unchecked. An operator is looked up by a name
from this list, never by walking through attributes that a file names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import SourceError
from ...system.torch_private import OpOverload, OpOverloadPacket

__all__ = ["ALLOWED", "MAX_ELEMENTS", "arguments_of", "check_values", "operator_of"]

MAX_ELEMENTS = 2**30
"""Of one tensor: 8 GiB in float64"""

MAX_PARTS = 16_384
"""Tensors that one call gives, and steps of a recurrent layer"""

_GROUPS = {
    "elementwise": (
        "abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and"
        " bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu"
        " clamp clamp_max clamp_min clip copysign cos cosh deg2rad div divide elu eq erf erfc"
        " erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac ge gelu greater"
        " greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite"
        " isinf isnan ldexp le leaky_relu lerp less less_equal log log10 log1p log2"
        " log_sigmoid log_sigmoid_forward logaddexp logical_and logical_not logical_or"
        " logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg"
        " negative not_equal positive pow prelu _prelu_kernel rad2deg reciprocal relu relu6"
        " remainder round rrelu rrelu_with_noise rsqrt rsub selu sgn sigmoid sign signbit silu"
        " sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold"
        " true_divide trunc where xlogy special_expit special_log1p special_logit __and__"
        " __or__ __xor__"
    ),
    "types, copies and new tensors": (
        "_to_copy alias arange clone contiguous copy detach detach_copy fill full full_like"
        " lift_fresh lift_fresh_copy linspace new_full new_ones new_zeros ones ones_like rand"
        " rand_like randn randn_like scalar_tensor to type_as zero zeros zeros_like"
        " _assert_tensor_metadata eye logspace tril_indices triu_indices"
    ),
    "shapes": (
        "adjoint as_strided atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors"
        " broadcast_to cat channel_shuffle chunk column_stack concat concatenate"
        " constant_pad_nd diag diag_embed diagonal dsplit dstack expand expand_as flatten flip"
        " fliplr flipud hsplit hstack mH mT matrix_H meshgrid moveaxis movedim narrow numpy_T"
        " pad permute pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d"
        " reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d"
        " replication_pad3d reshape reshape_as resolve_conj resolve_neg roll rot90 select"
        " slice split split_with_sizes squeeze stack swapaxes swapdims t tensor_split tile"
        " transpose tril triu unbind unflatten unfold unsafe_chunk unsafe_split"
        " unsafe_split_with_sizes unsqueeze _unsafe_view view view_as view_copy vsplit vstack"
        " _reshape_alias permute_copy expand_copy select_copy slice_copy im2col col2im"
    ),
    "by index": (
        "embedding gather index index_add index_copy index_fill index_put index_select"
        " masked_scatter scatter scatter_add scatter_reduce select_scatter slice_scatter"
        " take_along_dim diagonal_scatter _unsafe_index one_hot bucketize searchsorted"
    ),
    "reductions and order": (
        "all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod"
        " cumsum logcumsumexp logsumexp max mean median min mode nanmean nansum norm prod sort"
        " std std_mean sum topk var var_mean linalg_norm linalg_vector_norm frobenius_norm"
        " nuclear_norm cosine_similarity pairwise_distance cdist _cdist_forward dist renorm"
    ),
    "products": (
        "addbmm addmm addmv addr baddbmm bilinear bmm dot einsum inner linear matmul mm"
        " linalg_multi_dot mv outer ger tensordot kron linalg_matmul chain_matmul"
        " scaled_dot_product_attention _scaled_dot_product_attention_math"
        " _scaled_dot_product_flash_attention_for_cpu cross linalg_cross trace"
    ),
    "layers": (
        "_adaptive_avg_pool2d _adaptive_avg_pool3d _convolution _log_softmax _softmax"
        " _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update"
        " adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d"
        " adaptive_max_pool2d adaptive_max_pool3d affine_grid_generator alpha_dropout"
        " avg_pool1d avg_pool2d avg_pool3d batch_norm conv1d conv2d conv3d conv_transpose1d"
        " conv_transpose2d conv_transpose3d convolution dropout feature_alpha_dropout"
        " feature_dropout glu grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru"
        " instance_norm layer_norm log_softmax lstm max_pool1d max_pool1d_with_indices"
        " max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d"
        " max_unpool3d native_batch_norm native_dropout native_group_norm native_layer_norm"
        " rms_norm _fused_rms_norm rnn_relu rnn_tanh softmax upsample_bicubic2d"
        " upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d"
        " upsample_nearest3d upsample_trilinear3d _upsample_bicubic2d_aa"
        " _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d"
        " _upsample_nearest_exact3d"
    ),
    "complex numbers and spectra": (
        "angle complex conj conj_physical _conj _conj_physical imag is_complex polar real"
        " view_as_complex view_as_real view_as_complex_copy view_as_real_copy _fft_c2c"
        " _fft_c2r _fft_r2c fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2"
        " fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2"
        " fft_rfftn fft_fftfreq fft_rfftfreq hann_window hamming_window blackman_window"
        " bartlett_window"
    ),
}

ALLOWED = frozenset(name for names in _GROUPS.values() for name in names.split())
"""Names of ATen operators; each stands for its variant that writes in place (relu_) too."""

_FIXED = frozenset({"as_strided", "_reshape_alias"})
"""Those without a variant in place: it would change where a tensor lies in memory"""

_SCALARS = frozenset({"self", "other", "exponent", "value"})
"""Tensor arguments for which PyTorch takes a number, as in ``mul.Tensor(x, 2)``"""

_TARGET = re.compile(r"torch\.ops\.aten\.(\w{1,100})\.(\w{1,60})", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]{0,40}", re.ASCII)
_EQUATION = re.compile(r"[A-Za-z,.>\- ]{1,400}", re.ASCII)

_POSITIVE = frozenset(
    {
        *("stride", "dilation", "groups", "kernel_size", "upscale_factor", "downscale_factor"),
        *("num_groups", "group", "num_layers", "chunks", "sections", "split_size", "step"),
        *("block_size", "output_size", "size", "n_fft", "repeats", "normalized_shape"),
    }
)
_SIGNED = frozenset({"aten::arange", "aten::as_strided", "aten::slice"})
"""Operators to whose steps and strides `_POSITIVE` does not apply"""

_NATURAL = frozenset({"output_size", "size", "repeats", "normalized_shape", "split_size"})
"""Of `_POSITIVE`, those that may be 0 (or -1, for an extent that follows from the others)"""


def operator_of(target: str, file: str) -> OpOverload:
    """The operator that a file calls ``torch.ops.aten.NAME.OVERLOAD``.

    Raises:
        SourceError: it is no ATen operator, or none of those that are taken.
    """
    match = _TARGET.fullmatch(target)
    packet = match[1] if match else ""
    base = packet.removesuffix("_")
    known = packet in ALLOWED or (base in ALLOWED and base not in _FIXED)
    op = _overload(packet, match[2]) if match and known else None
    if op is None or any(
        a.alias_info and a.alias_info.is_write and a.kwarg_only for a in _args(op)
    ):
        raise SourceError(
            f"{file} was not loaded: it calls {target[:80]!r}, which is not an ATen op that a file "
            "may call.",
            hint="Custom and higher-order ops cannot be exported; if "
            "program.run_decompositions() removes it, save that. Any other model can be given as "
            "MODULE:FUNCTION, by whoever trusts its code.",
        )
    return op


def _overload(packet: str, overload: str) -> OpOverload | None:
    found = getattr(torch.ops.aten, packet, None)
    if not isinstance(found, OpOverloadPacket):
        return None
    op = getattr(found, overload, None)
    return op if isinstance(op, OpOverload) else None


def _args(op: OpOverload) -> Sequence[Any]:
    return op._schema.arguments


def arguments_of(
    op: OpOverload, given: Mapping[str, tuple[Any, int | None]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call, each of the type that the operator declares.

    Args:
        given: (value, kind) by the operator's name of the argument; kind 1 is positional, 2 is
            keyword, None leaves it to the operator. A tensor is a ``torch.fx.Node``.

    Raises:
        ValueError: an argument is unknown, missing or of another type.
    """
    unknown = set(given) - {argument.name for argument in _args(op)}
    if unknown:
        raise ValueError(f"{op} has no argument {min(unknown)!r}")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    skipped = False
    for argument in _args(op):
        if argument.name not in given:
            if not argument.has_default_value():
                raise ValueError(f"{op} lacks its argument {argument.name!r}")
            skipped = True
            continue
        value, kind = given[argument.name]
        scalar = argument.name in _SCALARS and isinstance(value, (int, float, complex))
        if not scalar and not _fits(value, argument.real_type, argument.N):
            raise ValueError(f"{op} takes no {_shown(value)} as {argument.name!r}")
        _check_number(op, argument.name, value)
        by_position = kind == 1 or (kind is None and not argument.has_default_value())
        if by_position and not skipped and not argument.kwarg_only:
            args.append(value)
        else:
            kwargs[argument.name] = value
            skipped = True
    return tuple(args), kwargs


def _shown(value: Any) -> str:
    return type(value).__name__ if not isinstance(value, (int, float, str)) else repr(value)[:40]


_INTEGERS = ("IntType", "SymIntType")
_PLAIN: dict[str, tuple[type, ...]] = {
    "IntType": (int,),
    "SymIntType": (int,),
    "FloatType": (float, int),
    "SymFloatType": (float, int),
    "BoolType": (bool,),
    "SymBoolType": (bool,),
    "NumberType": (int, float, bool, complex),
    "ComplexType": (complex, float, int),
    "StringType": (str,),
    "ScalarTypeType": (torch.dtype,),
    "LayoutType": (torch.layout,),
    "DeviceObjType": (torch.device,),
    "MemoryFormatType": (torch.memory_format,),
}


def _fits(value: Any, declared: Any, width: int | None = None) -> bool:
    """Whether a value is of a type of PyTorch's operator schemas; ``width`` of int[2] is 2."""
    kind = declared.kind()
    if kind == "OptionalType":
        return value is None or _fits(value, declared.getElementType(), width)
    if kind == "ListType":
        element = declared.getElementType()
        if isinstance(value, list):
            return all(_fits(item, element) for item in value)
        return width is not None and _fits(value, element)
    if kind == "TensorType":
        return isinstance(value, torch.fx.Node)
    if isinstance(value, bool) and kind not in ("BoolType", "SymBoolType", "NumberType"):
        return False
    return isinstance(value, _PLAIN.get(kind, ()))


def _check_number(op: OpOverload, name: str, value: Any) -> None:
    """Refuse strings that are no plain words, and zeros where kernels divide."""
    if isinstance(value, str):
        pattern = _EQUATION if name == "equation" else _WORD
        if pattern.fullmatch(value) is None:
            raise ValueError(f"{op} takes no {value[:40]!r} as {name!r}")
    if name in _POSITIVE and op._schema.name not in _SIGNED:
        least = -1 if name in _NATURAL else 1
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is int and number < least for number in numbers):
            raise ValueError(f"{op} takes no {value} as {name!r}")


def check_values(
    op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], parts: int
) -> None:
    """Refuse what an operator's kernel would do wrong or endlessly, before it is called.

    Args:
        args, kwargs: of the call; tensors have the shapes that the kernel will see.
        parts: how many tensors the file says that the call gives.

    Raises:
        ValueError: the call would read beyond its tensors, or give more tensors than `MAX_PARTS`.
    """
    name = op._schema.name.removeprefix("aten::")
    values = {a.name: a.default_value for a in _args(op) if a.has_default_value()}
    values |= {argument.name: value for argument, value in zip(_args(op), args, strict=False)}
    values |= kwargs
    _check_kernel(op, name, values)
    _check_parts(op, name, values, parts)


def _check_kernel(op: OpOverload, name: str, values: Mapping[str, Any]) -> None:
    """What the kernels of single operators leave unchecked."""
    if op._overloadname == "dtype" and name in ("view", "view_copy"):
        raise ValueError(f"{op} gives the bytes of a tensor another type")
    if "batch_norm" in name or name == "instance_norm":
        _check_statistics(name, values)
    elif name == "native_group_norm":
        _check_groups(name, values)
    elif name in ("as_strided", "_reshape_alias"):
        _check_strided(name, values)
    elif name.startswith("avg_pool"):
        _check_average(name, values)
    elif values.get("rounding_mode") == "trunc":
        _check_truncation(values)
    elif "flash_attention" in name:
        _check_attention(op, values)
    elif name.lstrip("_").startswith("upsample"):
        _check_scales(name, values)
    elif name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        _check_recurrent(op, values)


def _check_attention(op: OpOverload, values: Mapping[str, Any]) -> None:
    """The kernel reads key, value and mask by the extents of one another, and divides by them."""
    query, key, value = (list(values[name].shape) for name in ("query", "key", "value"))
    mask = values.get("attn_mask")
    fits = len(query) == 4 and key == value and query[:2] == key[:2] and query[3:] == key[3:]
    if not fits or 0 in (*query, *key):
        raise ValueError(f"{op} is given tensors of the shapes {query}, {key} and {value}")
    if mask is not None:
        wanted = [*query[:3], key[2]]
        got = [1] * (4 - mask.ndim) + list(mask.shape)
        pairs = zip(got, wanted, strict=False)
        if len(got) != 4 or any(have not in (1, want) for have, want in pairs):
            raise ValueError(f"{op} is given a mask of shape {list(mask.shape)}, not {wanted}")


def _check_recurrent(op: OpOverload, values: Mapping[str, Any]) -> None:
    if op._overloadname == "data":
        raise ValueError(f"{op} takes packed sequences, whose sizes nothing checks")
    steps = max(values["input"].shape, default=0) * int(values["num_layers"])
    if steps > MAX_PARTS:
        raise ValueError(f"{op} would take {steps:,} steps")


def _check_groups(name: str, values: Mapping[str, Any]) -> None:
    extents = [int(values[key]) for key in ("N", "C", "HxW")]
    if min(extents) < 0 or extents[0] * extents[1] * extents[2] != values["input"].numel():
        raise ValueError(f"{name} is called with the extents {extents}")
    _check_vectors(name, values, extents[1], ("weight", "bias"))


def _check_statistics(name: str, values: Mapping[str, Any]) -> None:
    image = values["input"]
    if image.ndim < 2:
        raise ValueError(f"{name} is given a tensor of shape {list(image.shape)}")
    vectors = ("weight", "bias", "running_mean", "running_var")
    _check_vectors(name, values, int(image.shape[1]), vectors)


def _check_vectors(name: str, values: Mapping[str, Any], extent: int, names: Sequence[str]) -> None:
    for key in names:
        vector = values.get(key)
        shape = [extent] if vector is None else list(vector.shape)
        if shape != [extent]:
            raise ValueError(f"{name} has {key} of shape {shape}, not [{extent}]")


def _check_strided(name: str, values: Mapping[str, Any]) -> None:
    """Where the tensor lies in memory bounds what is read, and so does what it holds."""
    tensor, size, stride = values["self"], values["size"], values["stride"]
    start, offset = tensor.storage_offset(), values.get("storage_offset")
    first = int(start if offset is None else offset)
    if len(size) != len(stride) or min([*size, *stride, first], default=0) < 0:
        raise ValueError(f"{name} has sizes {size} and strides {stride}")
    last = first + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    stored = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
    end = min(start + tensor.numel(), stored)
    if 0 not in size and not (start <= first and last < end):
        raise ValueError(f"{name} reads element {last} of a tensor of {tensor.numel()}")


def _check_average(name: str, values: Mapping[str, Any]) -> None:
    """Integers divided by nothing, or the smallest of them by -1, end the process (SIGFPE)."""
    divisor = values.get("divisor_override")
    if divisor is not None and divisor < 1:
        raise ValueError(f"{name} takes no {divisor} as 'divisor_override'")
    if not values["self"].is_floating_point():
        raise ValueError(f"{name} is given integers")


def _check_truncation(values: Mapping[str, Any]) -> None:
    """The smallest integer divided by -1 ends the process (SIGFPE)."""
    dividend, divisor = values["self"], values["other"]
    operands = [x for x in (dividend, divisor) if isinstance(x, torch.Tensor)]
    if any(x.is_floating_point() or x.is_complex() for x in operands):
        return
    if isinstance(divisor, torch.Tensor) or divisor == -1:
        raise ValueError("integers are divided and rounded towards zero, by -1 or what may be -1")


def _check_scales(name: str, values: Mapping[str, Any]) -> None:
    """A scale beside an output size is trusted by the kernels: it says where they read.

    It is what made the size, which is the product rounded down.
    """
    keys = [key for key in values if key == "scales" or key.startswith("scales_")]
    if not keys:  # the overload that makes the size itself
        return
    for extent, size, key in zip(
        values["self"].shape[2:], values["output_size"], keys, strict=True
    ):
        scale = values[key]
        if scale is not None and not -1 <= extent * scale - size <= 1:
            raise ValueError(f"{name} makes {size} of {extent} with the scale {scale}")


_PIECES = {
    "unbind": lambda extent, values: extent,
    "split": lambda extent, values: -(-extent // max(1, _first(values["split_size"]))),
    "unsafe_split": lambda extent, values: -(-extent // max(1, _first(values["split_size"]))),
    "chunk": lambda extent, values: min(extent, values["chunks"]),
    "unsafe_chunk": lambda extent, values: min(extent, values["chunks"]),
}


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, (list, tuple)) and value else value or 1)


def _check_parts(op: OpOverload, name: str, values: Mapping[str, Any], parts: int) -> None:
    """Count the tensors that a call gives before it makes them."""
    numbers = [values[key] for key in ("chunks", "sections", "indices") if key in values]
    most = max([parts, *(n for n in numbers if isinstance(n, int))])
    if name in _PIECES and not isinstance(values.get("split_size"), (list, tuple)):
        tensor, dim = values["self"], int(values.get("dim") or 0)
        if not -tensor.ndim <= dim < tensor.ndim:
            raise ValueError(f"{op} has no dimension {dim}")
        most = max(most, int(_PIECES[name](int(tensor.shape[dim]), values)))
    if most > MAX_PARTS:
        raise ValueError(f"{op} would give {most:,} tensors")
