"""LiteRT's and litert-torch's private interfaces, each once. What breaks when they change:

- `know_layouts`: transposes around every pad of TFLite files of integers, and wrong repeats.
- `lower_as_product`: TFLite files get a reshape before and behind every product of batches.
- `operations_of`: `verify --layers` of TFLite files.
- `static_quantization`: TFLite files of integers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["know_layouts", "lower_as_product", "operations_of", "static_quantization"]


def know_layouts() -> None:
    """Let litert-torch write pads and repeats of four axes with channels last, between what has
    them there.

    It knows no layout of a pad: in files of floats its transposes are gone in the end; a quantise
    beside one holds them. Repeats it takes for the same in every layout, and repeats channels in
    the place of rows.

    litert-torch 0.10: ``layout_rewrite.rewriters``, functions by operator that change a node's
    arguments in place.
    """
    import torch
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_rewrite

    aten = torch.ops.aten

    def pad(node: Any) -> None:
        pads = [*node.args[1]]  # from the last axis to the first, two numbers each
        pads += [0] * (8 - len(pads))
        width, height, channels, batch = (pads[i : i + 2] for i in range(0, 8, 2))
        node.args = (node.args[0], [*channels, *width, *height, *batch], *node.args[2:])

    def repeat(node: Any) -> None:
        batch, channels, height, width = node.args[1]
        node.args = (node.args[0], [batch, height, width, channels])

    rewriters = layout_rewrite.rewriters
    for operator in (aten.constant_pad_nd.default, aten.pad.default):
        rewriters[operator] = pad
    rewriters[aten.repeat.default] = repeat


def lower_as_product(operator: Any) -> None:
    """Lower ``operator``, (A, B, M, K) (A, B, K, N) -> (A, B, M, N), to one StableHLO product.

    litert-torch 0.10: ``litert_torch.backend.lowerings.lower`` and the MLIR bindings of
    ``litert_converter``.
    """
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo
    from litert_torch.backend import lowerings

    @lowerings.lower(operator)  # type: ignore[untyped-decorator]
    def lower(context: Any, first: Any, second: Any) -> Any:
        axes = stablehlo.DotDimensionNumbers.get(
            lhs_batching_dimensions=[0, 1],
            rhs_batching_dimensions=[0, 1],
            lhs_contracting_dimensions=[3],
            rhs_contracting_dimensions=[2],
        )
        shape = (*list(first.type.shape)[:3], second.type.shape[3])
        result = ir.RankedTensorType.get(shape, first.type.element_type)
        return stablehlo.dot_general(result, first, second, axes)


def static_quantization() -> Any:
    """What `litert_torch.convert` takes as ``quant_config`` for a program that has quantise and
    dequantise operators: kernels of integers where they stand around an operator.

    litert-torch 0.10: ``QuantConfig`` takes no such mode without a quantizer of PyTorch's own.
    """
    from litert_torch.quantize.quant_config import QuantConfig

    config = QuantConfig.__new__(QuantConfig)
    object.__setattr__(config, "_quantizer_mode", QuantConfig._QuantizerMode.PT2E_STATIC)
    return config


def operations_of(interpreter: Any) -> list[dict[str, Any]]:
    """Operations of a loaded file in order: ``op_name``, indices of ``inputs`` and ``outputs``.

    ai-edge-litert 2.3: ``Interpreter._get_ops_details``.
    """
    found: list[dict[str, Any]] = interpreter._get_ops_details()
    return found
