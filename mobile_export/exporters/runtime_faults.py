"""Forms of operations that some version of a runtime or converter computes wrongly, as data.

A row is shown by a minimal graph in tests/exporters/test_runtime_faults.py, which fails when an
installed version computes otherwise than the row says; docs/runtime-faults.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAULTS", "RuntimeFault", "table"]


@dataclass(frozen=True)
class RuntimeFault:
    """One form that is computed wrongly.

    Attributes:
        name: of the row, and of its minimal graph.
        library: that computes or writes it, as pip knows it.
        seen: the first and the last version that were run here and were wrong.
        mended: the first version that was run here and is right; empty where there is none.
        form: what is wrong.
        source: a public report; empty where there is none.
        instead: what files of ours hold in its place; empty where the form is still written.
        processors: on which it was wrong, where it was right on another; empty where no difference
            was seen.
    """

    name: str
    library: str
    seen: tuple[str, str]
    mended: str
    form: str
    source: str
    instead: str
    processors: str = ""


FAULTS: tuple[RuntimeFault, ...] = (
    RuntimeFault(
        "average_pool_ceil",
        "onnxruntime",
        ("1.22.0", "1.28.0"),
        "1.31.1",
        "AveragePool of opset 18 and below, ceil_mode, padding counts: the last windows are "
        "divided by the whole kernel",
        "https://github.com/microsoft/onnxruntime/pull/29629",
        "opset 20",
    ),
    RuntimeFault(
        "average_pool_pads",
        "onnxruntime",
        ("1.22.0", "1.24.4"),
        "1.26.0",
        "AveragePool of opset 19 and above, padding counts and differs between the axes: what is "
        "padded behind does not count",
        "https://github.com/microsoft/onnxruntime/issues/24681",
        "padding that does not count, times each window's share (`exclude_padding`)",
    ),
    RuntimeFault(
        "pad_max_pool",
        "onnxruntime",
        ("1.22.0", "1.31.1"),
        "1.32.0",
        "Pad of zeros in front of MaxPool: taken for the pool's own padding, which never wins",
        "https://github.com/microsoft/onnxruntime/issues/24737",
        "a concatenation (`guard_padding`)",
    ),
    RuntimeFault(
        "matmul_of_integer_weights",
        "onnxruntime",
        ("1.32.0", "1.32.0"),
        "",
        "MatMul of floats with weights of int8 behind a DequantizeLinear, per channel: taken for "
        "MatMulNBits, which rounds the floats to 8 bits unless "
        "session.qdq_matmulnbits_accuracy_level says otherwise",
        "https://github.com/microsoft/onnxruntime/pull/27769",
        "an Unsqueeze of the weights in between (`exporters/onnx/integers.py`)",
        processors="wrong on AMD EPYC with AVX-512, others were not tried",
    ),
    RuntimeFault(
        "litert_nearest",
        "litert-torch",
        ("0.10.0", "0.10.0"),
        "",
        "nearest resizing by no whole factor (3 to 7 pixels): rows are picked by TFLite's rule",
        "",
        "two gathers (`index_nearest`)",
    ),
    RuntimeFault(
        "litert_bilinear",
        "litert-torch",
        ("0.10.0", "0.10.0"),
        "",
        "bilinear resizing by a factor that does not fit the sizes (7 pixels by 1.5): the points "
        "are laid by the sizes",
        "",
        "products with stored matrices (`operators/`)",
    ),
    RuntimeFault(
        "litert_sort",
        "litert-torch",
        ("0.10.0", "0.10.0"),
        "",
        "sorting: STABLEHLO_SORT is written, which LiteRT 2.3.0 does not load",
        "",
        "ranks by comparisons, up to 2^18 of them (`operators/`); beyond, no file",
    ),
    RuntimeFault(
        "coremltools_nearest",
        "coremltools",
        ("9.0", "9.0"),
        "",
        "nearest resizing by no whole factor: the factor is stored as (out + 1e-4) / in, by which "
        "row 3 of 4 to 6 is row 1 and not 2",
        "",
        "two gathers (`index_nearest`)",
    ),
    RuntimeFault(
        "openvino_views",
        "openvino",
        ("2026.4.1", "2026.4.1"),
        "",
        "a value that a Reshape and, through a Transpose, a convolution read (EMO's attention): it "
        "is overwritten before the convolution has read it",
        "",
        "the Transpose reads the reshaped value, shaped back (`exporters/onnx/views.py`)",
        processors="wrong on Intel Xeon, right on another",
    ),
    RuntimeFault(
        "openvino_attention",
        "openvino",
        ("2026.4.1", "2026.4.1"),
        "",
        "MatMul, Softmax, MatMul of three axes, added to a computed value, the sum read twice "
        "(attention of one head with its residual): the process dies (SIGSEGV)",
        "",
        "the products have a fourth axis of length 1 (`exporters/onnx/attention.py`)",
        processors="seen on Intel Xeon and on AMD EPYC",
    ),
    RuntimeFault(
        "openvino_heads",
        "openvino",
        ("2026.4.1", "2026.4.1"),
        "",
        "attention of as many heads as tokens, where the queries are transposed from tokens, heads "
        "to heads, tokens and the result is not transposed back at once (or the other way round): "
        "the result is written over the queries before they have been read",
        "",
        "the products have a fifth axis of length 1 (`exporters/onnx/attention.py`)",
        processors="seen on AMD EPYC",
    ),
)
"""Versions between `seen` and `mended` were not all run."""


def table() -> str:
    """The rows as a Markdown table."""
    lines = [
        "| library | wrong in | right in | form | report | files hold instead |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        number = fault.source.rpartition("/")[2]
        report = f"[{number}]({fault.source})" if number else "-"
        form = f"{fault.form}; {fault.processors}" if fault.processors else fault.form
        lines.append(
            f"| {fault.library} | {fault.seen[0]} to {fault.seen[1]} | {fault.mended or '-'} | "
            f"{form} | {report} | {fault.instead or 'the form itself'} |"
        )
    return "\n".join(lines)
