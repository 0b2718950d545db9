"""Execute Core ML's ML Programs on any machine.

``MLModel.predict`` exists on macOS only. This package reads an ``.mlpackage`` and executes its
program in PyTorch, operation by operation, with the semantics of the MIL op reference::

    program = load_program(Path("emo_2m.mlpackage"))
    outputs = program.run({"image": pixels})

It emulates the numerics of the program's text, float16 included; it does not emulate Apple's
hardware.

Layout, in the order data passes through:

    _wire.py      protobuf bytes → fields
    _text.py      package → types, constants, calls
    registry.py   op type → function
    ops/          the functions, one file per section of the MIL op reference
    program.py    bind, run, round
    findings.py   float16 that overflows, operations whose meaning is not settled
    nms.py        the suppression behind a detector's program, a model of its own
"""

from __future__ import annotations

from .nms import NmsModel, read_nms
from .program import MilProgram, TensorSpec, Watch, load_program

__all__ = ["MilProgram", "NmsModel", "TensorSpec", "Watch", "load_program", "read_nms"]
