"""TNN: two files, written by us from the layer graph, executed by our evaluator of TNN models."""

from __future__ import annotations

from ..row import FLOAT16, FLOAT32, LAYERED, Format, PassChoice, Precision

__all__ = ["ROW"]

ROW = Format(
    name="tnn",
    title="TNN",
    summary="Write a TNN model (two files); our evaluator of TNN models executes it here.",
    suffix=".tnnproto",
    companions=(".tnnmodel",),
    made_from="layers",
    integers_as_floats="all",
    not_open="its layers are written with the numbers of one shape, and have no batch",
    batches=False,
    extra="tnn",
    libraries=(),
    precisions=(Precision("fp32", FLOAT32, 32), Precision("fp16", FLOAT16, 16)),
    lacks={
        "int4-weights": "TNN has no integers of 4 bits",
        "palette4": "TNN reads no table of weights",
        "palette6": "TNN reads no table of weights",
        "palette8": "TNN reads no table of weights",
        "int8-dynamic": "its layers of integers read a scale of their input that is stored",
        "int8": "nothing here executes its layers of integers: our evaluator computes in float32",
        "int16": "TNN has no kernels for integers of 16 bits",
        "int8-weights": "its linear layers have one scale of int8 weights for all channels",
    },
    lacks_options={
        "input_dtype": "a blob is of floats, which TNN's BlobConverter makes of an app's bytes",
        "layout": "a blob has its channels first",
        "target": "that is a version of iOS",
    },
    checked_by="the reference evaluator of TNN models",
    passes=PassChoice(add=("repeat_channels",), native=LAYERED),
    runners=("tnn-test",),
)
