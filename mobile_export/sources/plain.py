"""A module as its owner has it → the plain one that is exported: eval mode, CPU, float32.

What wraps it for training or speed is taken off wherever it stands; weights that are quantised and
activations that are not become the float weights that they stand for; parts in TorchScript stay as
they are, and are captured by running them. What was changed is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import nn

from ..errors import SourceError
from ..graph.specs import CONVERTED
from ..system.torch_private import compiled_method, script_forward

__all__ = ["ScriptCall", "bare", "plain_module", "with_script_calls"]


def plain_module(made: Any, spec: str, notes: list[str]) -> nn.Module:
    """Eval mode, CPU, float32, nothing around it; what is changed is noted.

    Raises:
        SourceError: it is no module, or holds what no format has.
    """
    if not isinstance(made, nn.Module):
        program = isinstance(made, torch.export.ExportedProgram)
        raise SourceError(
            f"{spec!r} gave a {type(made).__module__}.{type(made).__qualname__}, not a "
            "torch.nn.Module.",
            hint=_SAVE if program else "The factory must return the model.",
        )
    module = _unwrapped(made, notes)
    for child in module.modules():
        if isinstance(child, nn.TransformerEncoder):  # no nested tensors of what is not padding
            child.use_nested_tensor = False
    _refuse_frozen(module, spec)
    _refuse_quantised(module, spec)
    _dequantise(module, spec, notes)
    tensors = [*module.parameters(), *module.buffers()]
    _refuse_foreign(tensors, spec)
    if module.training:
        notes.append("The model came in training mode and was put into eval mode.")
    elif any(child.training for child in module.modules()):
        notes.append("Parts of the model were in training mode; all was put into eval mode.")
    try:
        module.eval()
    except NotImplementedError as error:
        raise SourceError(
            f"{spec!r} gave the module of a torch.export program, which has no eval mode.",
            hint=_SAVE,
        ) from error
    devices = sorted({tensor.device.type for tensor in tensors} - {"cpu"})
    if devices:
        notes.append(f"It was moved from {', '.join(devices)} to the CPU.")
        module = module.cpu()
    kinds = {t.dtype for t in tensors if t.is_floating_point()} - {torch.float32}
    if kinds:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        how = "with rounding" if torch.float64 in kinds else "exactly"
        notes.append(f"{CONVERTED} {named} to float32, {how}.")
        module = module.float()
    return module


_SAVE = "Save the program with torch.export.save(program, 'model.pt2') and name that file."


def _unwrapped(made: nn.Module, notes: list[str]) -> nn.Module:
    """``made`` without `torch.compile`, `DataParallel` and the like around it or its parts."""
    found: dict[str, None] = {}
    module: nn.Module = bare(made, found)
    todo = [module]
    while todo:
        parent = todo.pop()
        if isinstance(parent, torch.jit.ScriptModule):
            continue
        if parent._compiled_call_impl is not None:  # by module.compile()
            found["compile()"] = None
            parent._compiled_call_impl = None
        _restore_forward(parent, found)
        for name, child in list(parent.named_children()):
            plain = bare(child, found)
            if plain is not child:
                setattr(parent, name, plain)
            todo.append(plain)
    if found:
        notes.append(f"Taken off the model, or parts of it: {', '.join(found)}.")
    return module


def _restore_forward(module: nn.Module, found: dict[str, None]) -> None:
    """Undo ``module.forward = torch.compile(module.forward)``, which a copy would share."""
    method = compiled_method(vars(module).get("forward"))
    function = getattr(method, "__func__", None)
    if function is None:
        return
    found["torch.compile(forward)"] = None
    del module.forward
    if function is not type(module).forward:
        module.forward = MethodType(function, module)


def bare(module: Any, found: dict[str, None] | None = None) -> Any:
    """What stands inside a module's wrappers, whose names are put into ``found``."""
    inner = _inside(module)
    while inner is not None:
        if found is not None:
            found[type(module).__name__] = None
        module, inner = inner, _inside(inner)
    return module


def _inside(module: Any) -> nn.Module | None:
    """What a wrapper holds; None of what is none.

    ``YOLO`` of ultralytics is one: a module whose ``train`` begins to train.
    """
    if any(base.__module__ == "ultralytics.engine.model" for base in type(module).__mro__):
        held = getattr(module, "model", None)
        return held if isinstance(held, nn.Module) else None
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    name = "module" if isinstance(module, parallel) else "_orig_mod"  # of torch.compile
    inner: nn.Module | None = getattr(module, name, None)
    return inner if name == "module" or type(module).__module__.startswith("torch.") else None


def _refuse_frozen(module: nn.Module, spec: str) -> None:
    """Refuse TorchScript whose weights are constants in its code: there is no float64 of it."""
    for name, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule) and not hasattr(child, "training"):
            raise SourceError(
                f"{spec!r} holds frozen TorchScript ({name or 'the model'}): its weights are "
                "float32 numbers in its code, and the reference is computed in float64.",
                hint="Give the module from before torch.jit.freeze or optimize_for_inference.",
            )


def _refuse_quantised(module: nn.Module, spec: str) -> None:
    """Refuse modules that compute with quantised activations, or that learn to."""
    found: dict[str, str] = {}
    for name, child in module.named_modules():
        place = type(child).__module__
        if ".quantized" in place or "fake_quantize" in place or ".quantization.qat" in place:
            found.setdefault(f"{place}.{type(child).__name__}", name or "the model")
    packed = [n for n, t in _tensors(module) if t.is_quantized]
    if not found and not packed:
        return
    said = ", ".join(f"{place} is {kind}" for kind, place in list(found.items())[:3])
    raise SourceError(
        f"{spec!r} is a quantised module: {said or packed[0] + ' holds whole numbers'}.",
        hint="Give the floating-point model, from before prepare and convert; `precision` and the "
        "formats' own options say what a file stores.",
    )


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _dequantise(module: nn.Module, spec: str, notes: list[str]) -> None:
    """Put float weights in the place of those that torchao keeps as whole numbers.

    Raises:
        SourceError: activations are quantised with them, or they are of an unknown class.
    """
    kinds: dict[str, int] = {}
    for parent in module.modules():
        for name, value in list(parent._parameters.items()):
            if value is None or type(value.data) in (torch.Tensor, nn.Parameter):
                continue
            kind = type(value.data)
            known = kind.__module__.startswith("torchao.") and hasattr(value, "dequantize")
            activations = [
                key
                for key, held in vars(value).items()
                if key.startswith(("act", "input_quant")) and held is not None
            ]
            if not known or activations:
                raise SourceError(
                    f"{spec!r} stores weights as {kind.__module__}.{kind.__name__}"
                    + (f", which quantises activations, too ({activations[0]})." if known else "."),
                    hint="Give the floating-point model, from before quantize_; `precision` and "
                    "the formats' own options say what a file stores.",
                )
            plain = value.dequantize().detach().to(torch.float32)
            parent._parameters[name] = nn.Parameter(plain, requires_grad=False)
            kinds[kind.__name__] = kinds.get(kind.__name__, 0) + 1
    for class_name, count in kinds.items():
        notes.append(
            f"{count} weights were stored as torchao's {class_name} and are the float32 numbers "
            "that these stand for; the file stores them as `precision` says."
        )


def _refuse_foreign(tensors: list[torch.Tensor], spec: str) -> None:
    if any(tensor.layout is not torch.strided or tensor.is_nested for tensor in tensors):
        raise SourceError(
            f"{spec!r} holds sparse or nested tensors, which no format has.",
            hint="Store them dense: tensor.to_dense().",
        )
    if any(tensor.is_meta for tensor in tensors):
        raise SourceError(
            f"{spec!r} has parameters on the meta device, which hold no values.",
            hint="Build it outside `torch.device('meta')`, or call to_empty and load its weights.",
        )


class ScriptCall(nn.Module):
    """Runs a TorchScript module whose parts `torch.export` must not look at.

    It captures the operators that the script calls; the script's tensors become constants.
    """

    @property
    def parameters_of_forward(self) -> list[str]:
        """Names of what the script takes."""
        forward: Any = self._script[0].forward
        return [each.name for each in forward.schema.arguments[1:]]

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._script = (script,)  # in a tuple: not one of this module's children

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        self._script[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, *tensors: Any, **named: Any) -> Any:
        """What the script returns."""
        return script_forward(self._script[0])(*tensors, **named)


def with_script_calls(module: nn.Module, notes: list[str]) -> nn.Module:
    """``module`` with its TorchScript parts behind plain modules; it is changed."""
    names = []
    if isinstance(module, torch.jit.ScriptModule):
        notes.append("It is TorchScript: what it computes was captured by running it.")
        return ScriptCall(module)
    for name, parent in list(module.named_modules()):
        if isinstance(parent, torch.jit.ScriptModule):
            continue
        for key, child in list(parent.named_children()):
            if isinstance(child, torch.jit.ScriptModule):
                names.append(f"{name}.{key}".lstrip("."))
                setattr(parent, key, ScriptCall(child))
    if names:
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        notes.append(f"Captured by running their TorchScript: {shown}.")
    return module
