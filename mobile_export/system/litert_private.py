"""LiteRT's and litert-torch's private interfaces, each once. What breaks when they change:

- `lower_as_product`: TFLite files get a reshape before and behind every product of batches.
- `operations_of`: `verify --layers` of TFLite files.
- `static_quantization`: TFLite files of integers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["lower_as_product", "operations_of", "static_quantization"]


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
