"""Run coremltools' tests of its own operations, which its wheel holds, with our evaluator.

Each of them (``coremltools/converters/mil/mil/ops/tests``, BSD-3-Clause) builds a small program and
names the numbers that Core ML must return; Apple runs them on a Mac. On other systems they convert
the program and compare nothing. Here ``compare_backend`` is replaced: the package is saved, our
evaluator runs it, and its outputs must be the expected ones.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_build import coremltools

from mobile_export.exporters.coreml.evaluator import load_program
from mobile_export.exporters.coreml.evaluator.text import read_package
from mobile_export.system.quiet import quiet

__all__ = ["Run", "run_class"]

PACKAGE = "coremltools.converters.mil.mil.ops.tests"
_ABOUT_COREMLTOOLS = {  # what coremltools refuses or how it infers, or a prediction on a Mac only
    "test_ios17_invalid_indices",
    "test_efficient_type_inference",
    "test_builder_to_backend_corner_case",
}
_HALF = 2e-2  # of float16 programs; the tests themselves allow 0.5


@dataclass
class Run:
    """What running tests of one class did.

    Attributes:
        compared: calls whose outputs were compared.
        ops: the operations of those programs.
        failures: "method(arguments): why", of the calls that were wrong.
    """

    compared: int = 0
    ops: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


def run_class(name: str, folder: Path, calls: int, seed: int = 0) -> Run:
    """Run up to ``calls`` calls of every test method of a class.

    Args:
        name: "iOS14.test_pool:TestAvgPool", below the package of the tests.
    """
    run = Run()
    module, _, cls = name.partition(":")
    tests = getattr(_module(module), cls)()
    with _judged(run, folder):
        names = {n for n in dir(tests) if n.startswith("test_")} - _ABOUT_COREMLTOOLS
        for method in sorted(names):
            for arguments in _calls(getattr(tests, method), calls, seed):
                try:
                    with quiet():
                        getattr(tests, method)(**arguments)
                except (pytest.skip.Exception, pytest.xfail.Exception):
                    continue
                except (Exception, pytest.fail.Exception) as error:
                    text = " ".join(str(error).split())[:300]
                    run.failures.append(f"{method}({arguments}): {type(error).__name__} {text}")
    return run


@functools.cache
def _module(name: str) -> Any:
    os.environ.setdefault("PYMIL_TEST_TARGETS", "mlprogram")
    os.environ.setdefault("PYTEST_CURRENT_TEST", "(call)")
    coremltools()
    with quiet():
        return importlib.import_module(f"{PACKAGE}.{name}")


def _calls(method: Any, count: int, seed: int) -> list[dict[str, Any]]:
    """Some of the argument sets that a test is parametrised with, the first among them."""
    sets: list[dict[str, Any]] = [{}]
    for mark in getattr(method, "pytestmark", ()):
        if mark.name == "parametrize":
            names, values = _parameters(mark)
            sets = [{**known, **dict(zip(names, v, strict=True))} for known in sets for v in values]
        elif mark.name in ("skip", "xfail") or (mark.name == "skipif" and mark.args[0]):
            return []
    rest = np.random.default_rng(seed).permutation(len(sets) - 1)[: count - 1] + 1
    return [sets[0], *(sets[i] for i in rest)]


_VALUES: dict[int, list[Any]] = {}


def _parameters(mark: Any) -> tuple[list[str], list[Any]]:
    given = [*mark.args, *(mark.kwargs[k] for k in ("argnames", "argvalues") if k in mark.kwargs)]
    names, values = given
    names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    if id(mark) not in _VALUES:  # an iterator can be read once
        _VALUES[id(mark)] = [getattr(v, "values", v) for v in values]
    values = _VALUES[id(mark)]
    return names, [v if len(names) > 1 else (v,) for v in values]


@contextmanager
def _judged(run: Run, folder: Path) -> Iterator[None]:
    def compare(
        mlmodel: Any,
        input_key_values: dict[str, Any],
        expected_outputs: dict[str, Any] | None,
        dtype: str = "fp32",
        atol: float = 1e-4,
        rtol: float = 1e-5,
        **_: Any,
    ) -> None:
        path = folder / "vendor.mlpackage"
        mlmodel.save(str(path))
        program = load_program(path)
        feed = {}
        for spec in program.inputs:
            array = np.asarray(input_key_values[spec.name])
            feed[spec.name] = array if -1 in spec.shape else array.reshape(spec.shape)
        outputs = program.run(feed)
        if expected_outputs is None:
            return
        run.compared += 1
        run.ops |= {call.type for call in read_package(path).calls}
        if dtype == "fp16":
            atol = rtol = _HALF
        for name, (key, wanted) in zip(program.outputs, expected_outputs.items(), strict=True):
            got = outputs.get(key, outputs[name])
            wanted = np.asarray(wanted)
            assert got.shape == wanted.shape or wanted.ndim == 0, (got.shape, wanted.shape)
            np.testing.assert_allclose(
                got.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=atol
            )

    patch = pytest.MonkeyPatch()
    patch.setattr(_module("testing_utils"), "compare_backend", compare)
    try:
        yield
    finally:
        patch.undo()
