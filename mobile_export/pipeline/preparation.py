"""Programs as writers take them: passes, what a format adapts, layer graphs; all proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..exporters.config import ExportConfig
from ..exporters.interface import (
    Prepared,
    WriteJob,
    writer_of,
)
from ..exporters.processing import gives_probabilities, processed
from ..exporters.row import Format, PassChoice
from ..graph.program import Program
from ..lowering.integers import integers_at
from ..lowering.lower import lower
from ..lowering.reference import run_graph
from ..parity.reference import (
    with_activation,
)
from ..parity.whole_numbers import require_whole_numbers
from ..passes import PassReport, PassRunner, select_passes
from ..passes.prove import float64_outputs, require_same
from ..quantization.insert import insert
from ..quantization.project import project
from ..quantization.quantized import (
    Quantized,
    quantize,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

from .captured import Progress, References

__all__ = ["Preparation"]

_NOT_ONE_LAYER = "several images at once, or another order of its channels: no layer of integers"


class Preparation:
    """Programs as writers take them: passes, what a format adapts, layer graphs; all proven.

    What several formats share is done once.
    """

    def __init__(
        self,
        program: Program,
        references: References,
        config: ExportConfig,
        progress: Progress = lambda stage: None,
    ) -> None:
        self._program = program
        self._references = references
        self._config = config
        self._progress = progress
        self._runners: dict[tuple[bool, bool], PassRunner] = {}
        self._passed: dict[tuple[Any, ...], tuple[Program, tuple[PassReport, ...]]] = {}
        self._exact: dict[int, tuple[Program, tuple[np.ndarray, ...]]] = {}
        self._layers: dict[int, Prepared] = {}
        self._planned: dict[tuple[int, str], Quantized] = {}

    def passed(self, row: Format, without: Sequence[str]) -> tuple[Program, tuple[PassReport, ...]]:
        """After the passes of a format, without those named.

        What its options ask for in front of the model and behind it is in the program.
        """
        options = self._config.job(row).options
        processing = (options.image_input, gives_probabilities(self._program, options))
        chosen = select_passes((*without, *row.passes.without), row.passes.add)
        key = (processing, chosen, row.passes.native)
        if processing not in self._runners:
            program = processed(self._program, options)
            reference = self._references.get(pixels=options.image_input)
            if processing[1]:
                reference = with_activation(reference, "softmax")
            self._runners[processing] = PassRunner(program, reference, self._progress)
        if key not in self._passed:
            self._passed[key] = self._runners[processing].run(chosen, row.passes.native)
        return self._passed[key]

    def integers(self, row: Format, precision: str) -> Quantized:
        """The program of a format with a plan in it: one plan for all formats.

        The passes that formats have in common run before it; those that one format adds, behind it.

        Raises:
            UsageError: calibration data or a plan cannot be taken.
        """
        shared = replace(row, passes=PassChoice())
        program, passes = self.passed(shared, self._config.no_passes)
        key = (id(program), precision)
        if key not in self._planned:
            sample = self._references.get(pixels=program.input.pixels).samples[-1]
            pictures = self._references.own(pixels=program.input.pixels)
            self._planned[key] = quantize(
                program, precision, self._config.quantization, sample, pictures
            )
        quantized = replace(self._planned[key], passes=passes)
        return quantized if row.integer_layers is None else self._projected(row, quantized)

    def _projected(self, row: Format, quantized: Quantized) -> Quantized:
        """With what a format takes of the plan whose layers multiply integers.

        A layer whose integers do not come through the lowering is left in floating point.

        Raises:
            UsageError: no layer is left.
        """
        assert row.integer_layers is not None
        left: dict[str, str] = {}
        while True:
            exact, plan = quantized.exact, quantized.plan
            projected = project(exact, plan, row.integer_layers, left, row.title)
            rounded = insert(exact, projected)
            giving = row.gives_integers
            graph = lower(self.finished(row, rounded), giving=giving)
            taken = integers_at(graph, giving=giving)
            lost = projected.by_name("weight").keys() - taken
            if not lost:
                return replace(quantized, projected=projected, rounded=rounded)
            left |= dict.fromkeys(lost, _NOT_ONE_LAYER)

    def finished(self, row: Format, rounded: Program) -> Program:
        """``rounded``, of `integers`, after the passes that only this format has.

        Raises:
            PassError: one of them is not exact.
        """
        names = set(row.passes.add) - set(self._config.no_passes)
        program = rounded
        for function in select_passes(self._config.no_passes, tuple(names)):
            if function.__name__ in names:
                program = function(program).program
        if program is rounded:
            return program
        # Before it is rounded to float32, which may move a sum to the other side of a rounding.
        got = float64_outputs(program, *self.given(program))
        require_same(f"The program for {row.title}", program.spec, got, self._exactly(rounded))
        return program.in_float32()

    def adapted(self, row: Format, program: Program, job: WriteJob) -> Prepared:
        """``program``, of `passed`, as the writer of a format takes it.

        Raises:
            PassError: what was adapted or lowered computes something else in float64.
        """
        if row.integers_as_floats:
            returned_only = row.integers_as_floats == "returned"
            require_whole_numbers(
                program, self.given(program), row.title, returned_only=returned_only
            )
        if row.made_from == "layers":
            if id(program) not in self._layers:
                graph = lower(program, giving=row.gives_integers)
                given = [each.double().numpy() for each in self.given(program)]
                got = run_graph(graph, *given)
                require_same("The layer graph", program.spec, got, self._exactly(program))
                self._layers[id(program)] = Prepared(program, graph)
            return self._layers[id(program)]
        adapted = writer_of(row).adapt(program, job)
        if adapted.program is not program:
            got = float64_outputs(adapted.program, *self.given(program))
            exact = tuple(adapted.expected(self._exactly(program)))
            require_same(f"What {row.title}'s converter is given", program.spec, got, exact)
        return Prepared(adapted.program)

    def given(self, program: Program) -> tuple[torch.Tensor, ...]:
        """What a program of this size is given in a proof."""
        pixels = program.input.pixels
        return self._references.get(pixels=pixels).samples[-1].all_given(pixels=pixels)

    def _exactly(self, program: Program) -> tuple[np.ndarray, ...]:
        if id(program) not in self._exact:
            got = float64_outputs(program, *self.given(program))
            self._exact[id(program)] = (program, got)
        return self._exact[id(program)][1]
