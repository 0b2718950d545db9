"""Run a module in float64, whatever dtypes its code asks for.

The reference of every parity report is the original eager module in float64. ``module.double()``
alone does not get there: code such as ``x.float()`` or ``torch.ones(n)`` brings float32 back in the
middle. `Float64Mode` sits below autograd and turns every low-precision float that an op takes, is
asked for, or returns into float64, and complex numbers made of such into complex128.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import CellType, FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import SourceError
from ..system.torch_private import TorchDispatchMode, tree_map
from .quantized import exact_call
from .ties import ties_in_order
from .user_code import described, guarded

__all__ = ["Float64Mode", "deep_copy", "double_copy", "run_float64"]

_RAISED = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32), torch.float64),
    **dict.fromkeys((torch.complex32, torch.complex64), torch.complex128),
}
_DEEPEST = 8
"""Containers inside each other in which results of earlier calls are looked for"""

_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]
_RMS_NORMS = (torch.rms_norm, torch.nn.functional.rms_norm, torch.ops.aten.rms_norm.default)


def _raise_precision(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in _RAISED:
        return value.to(_RAISED[value.dtype])
    if isinstance(value, torch.dtype):
        return _RAISED.get(value, value)
    return value


class Float64Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode under which float16, bfloat16 and float32 do not exist.

    Equal elements are ordered by their index (`ties_in_order`).
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._assert_tensor_metadata.default:
            return None  # torch.export recorded the float32 dtypes here
        if func is torch.ops.aten.view.default:
            # a decomposed graph has it for the strides of float32; those of a copy may be others
            func = torch.ops.aten.reshape.default
        args, kwargs = tree_map(_raise_precision, (args, kwargs or {}))
        if (exact := exact_call(func)) is not None:
            return exact(*args, **kwargs)
        return tree_map(_raise_precision, ties_in_order(func)(*args, **kwargs))


class _Float32Seen(TorchFunctionMode):
    """The module's code sees float32 where the model would: as the dtype of what it computes.

    Python numbers then become tensors by way of float32, as they do in the model and in every file:
    ``torch.as_tensor([0.485, …], dtype=x.dtype)``, in torchvision's ``Normalize`` for one, holds
    0.485 rounded to float32. A ``dtype=torch.float64`` in the code itself is meant. The epsilon of
    an RMS norm that is given none is that of float32.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.new_tensor and args[0].dtype == torch.float64:
            kwargs.setdefault("dtype", torch.float32)
        if func in _RMS_NORMS and len(args) < 4 and kwargs.get("eps") is None:
            kwargs["eps"] = torch.finfo(torch.float32).eps
        result = func(*args, **kwargs)
        if func == _DTYPE and result == torch.float64:
            return torch.float32
        return result


def double_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A float64 copy of ``module``; the original is untouched."""
    return deep_copy(module).double()


def deep_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of ``module`` that shares nothing with it, in the same mode.

    Raises:
        SourceError: the module holds something that cannot be copied.
    """

    def refuse(error: BaseException) -> SourceError:
        return SourceError(
            f"{type(module).__name__} cannot be copied: {described(error)}",
            hint="copy.deepcopy(model) must work: the reference is a float64 copy of the model. "
            "Remove the attribute that cannot be copied, or give its class a __deepcopy__.",
        )

    memo: dict[int, Any] = {}
    with guarded(refuse):
        for child in module.modules():
            for value in vars(child).values():
                _detach_into(memo, value)
        made = copy.deepcopy(module, memo)
    # fx's modules (torchvision's create_feature_extractor) are in training mode when copied.
    modes = {
        name: child.training for name, child in module.named_modules() if hasattr(child, "training")
    }  # TorchScript that was frozen has none
    for name, child in made.named_modules():
        if name in modes:
            child.training = modes[name]
        _rebind(vars(child), memo)
    return made


def _rebind(held: Any, memo: Mapping[int, Any], depth: int = 0) -> None:
    """Let functions that a copied module holds, such as its hooks, see the copies of what they
    close over: ``deepcopy`` leaves functions as they are, and they would write to the original."""
    if depth > _DEEPEST or not isinstance(held, dict | list):
        return
    for key, value in list(held.items() if isinstance(held, dict) else enumerate(held)):
        if isinstance(value, FunctionType):
            held[key] = _seeing_copies(value, memo)
        elif type(value) in (dict, list, OrderedDict):
            _rebind(value, memo, depth + 1)


def _seeing_copies(function: FunctionType, memo: Mapping[int, Any], depth: int = 0) -> FunctionType:
    def seen(value: Any) -> Any:
        if isinstance(value, FunctionType) and depth < _DEEPEST:
            return _seeing_copies(value, memo, depth + 1)
        return memo.get(id(value), value)

    cells = tuple(map(_content, function.__closure__ or ()))
    defaults, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    held = (*cells, *defaults, *named.values())
    copied = tuple(map(seen, held))
    if all(old is new for old, new in zip(held, copied, strict=True)):
        return function
    new_cells, rest = copied[: len(cells)], copied[len(cells) :]
    new_defaults, new_named = rest[: len(defaults)], rest[len(defaults) :]
    closure = tuple(CellType() if new is _EMPTY else CellType(new) for new in new_cells)
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, new_defaults or None, closure
    )
    made.__kwdefaults__ = dict(zip(named, new_named, strict=True)) or None
    made.__dict__.update(function.__dict__)
    return made


_EMPTY = object()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # its variable has no value yet
        return _EMPTY


def _detach_into(memo: dict[int, Any], value: Any, depth: int = 0) -> None:
    """Let ``deepcopy`` take results of earlier calls (a kept attention map, the ``weight`` of
    ``torch.nn.utils.weight_norm``), which it refuses by itself, without their history."""
    if depth > _DEEPEST:  # a container may hold itself
        return
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, list | tuple):
        for item in value:
            _detach_into(memo, item, depth + 1)
    elif isinstance(value, dict):
        for item in value.values():
            _detach_into(memo, item, depth + 1)


def run_float64(call: Callable[..., Any], *inputs: torch.Tensor) -> Any:
    """Result of ``call(*inputs)`` with everything in float64.

    Args:
        call: a float64 module (see `double_copy`), or any function of tensors.
        inputs: of any float dtype, or integers, which stay as they are; ``call`` gets copies that
            it may write to.
    """
    given = [x.double().clone() if x.is_floating_point() else x.clone() for x in inputs]
    with torch.no_grad(), Float64Mode(), _Float32Seen():  # type: ignore[no-untyped-call]
        return call(*given)
