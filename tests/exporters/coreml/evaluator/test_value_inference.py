"""The evaluator's operations against coremltools' constant folding, on sampled arguments."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from mil_build import coremltools
from mil_samples import Sample, samples

from mobile_export.exporters.coreml.evaluator.table import OPS, Site
from mobile_export.exporters.coreml.evaluator.text import TensorType
from mobile_export.system.quiet import quiet

SAMPLES = {op: list(group) for op, group in itertools.groupby(samples(), lambda s: s.op)}


def folded(sample: Sample) -> list[np.ndarray]:
    """What coremltools infers for the call, one array per result."""
    mb = coremltools().converters.mil.mil.Builder
    result = getattr(mb, sample.op)(**sample.arguments)
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    values = [variable.val for variable in results]
    if any(value is None for value in values) and hasattr(
        results[0].op, "materialized_val_inference"
    ):
        values = [results[0].op.materialized_val_inference()]  # quantized data are kept as they are
    return [np.asarray(value) for value in values]


@functools.cache
def every_folded(target: str) -> dict[str, list[list[np.ndarray]]]:
    """By operation, the results of all samples of a target, inferred within one program."""
    ct = coremltools()
    mb = ct.converters.mil.mil.Builder
    found: dict[str, list[list[np.ndarray]]] = {}

    def body(x: Any) -> Any:
        for op, group in SAMPLES.items():
            if group[0].target == target:
                found[op] = [folded(sample) for sample in group]
        return mb.identity(x=x)

    with quiet():
        spec = [mb.TensorSpec(shape=(1,))]
        mb.program(input_specs=spec, opset_version=getattr(ct.target, target))(body)
    return found


def bound(value: Any) -> list[Any]:
    """An argument as the program binds it: a list of values, tensors as torch has them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return [torch.from_numpy(item) for item in value]
    array = np.asarray(value)
    narrow = array.dtype.kind in "iu"
    return [torch.from_numpy(np.array(array.astype(np.int32) if narrow else array))]


def computed(sample: Sample, results: list[np.ndarray]) -> list[np.ndarray]:
    op = OPS[sample.op]
    arguments = {key: op.converters[key](bound(v)) for key, v in sample.arguments.items()}
    if op.wants_site:
        outputs = tuple(TensorType("fp32", array.shape) for array in results)
        arguments["site"] = Site(f"CoreML{int(sample.target[3:]) - 10}", "op", outputs)
    result = op.function(**arguments)
    listed = result if isinstance(result, tuple) else (result,)
    return [np.asarray(item) for item in listed]


@pytest.mark.parametrize("op", SAMPLES)
def test_same_as_value_inference(op: str) -> None:
    group = SAMPLES[op]
    for sample, wanted in zip(group, every_folded(group[0].target)[op], strict=True):
        got = computed(sample, wanted)
        assert len(got) == len(wanted), sample
        for array, want in zip(got, wanted, strict=True):
            assert array.shape == want.shape, sample
            if sample.arguments.get("dtype") == "fp16":
                array = array.astype(np.float16)  # as the program rounds it
            np.testing.assert_allclose(
                array.astype(np.float64), want.astype(np.float64), 1e-5, 1e-5, err_msg=str(sample)
            )
