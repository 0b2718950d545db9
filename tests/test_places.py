"""Every module has its tests where its name says, or where the table below says.

``mobile_export/ROOM/x.py`` is tested by ``tests/ROOM/test_x.py``. Where one file of tests serves
several modules, such as one row per operation, the table names it.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

import mobile_export

PACKAGE = Path(mobile_export.__file__).parent
TESTS = Path(__file__).parent

PLACES = {
    "exporters/onnx/blocks.py": "quantization/test_blocks_onnx.py",
    "exporters/tflite/blocks.py": "quantization/test_blocks_tflite.py",
    "exporters/onnx/dynamic.py": "quantization/test_weights.py",
    "exporters/onnx/rewriter.py": "quantization/test_weights.py",
    "exporters/tflite/weights.py": "quantization/test_weights.py",
    "quantization/palettes.py": "quantization/test_weights.py",
    "exporters/coreml/evaluator/ops/*": "exporters/coreml/evaluator/test_mil_ops.py",
    "exporters/coreml/evaluator/program.py": "exporters/coreml/evaluator/test_mil_program.py",
    "exporters/coreml/evaluator/*": "exporters/coreml/evaluator/test_mil_parts.py",
    "exporters/tnn/evaluator/layers/*": "exporters/tnn/evaluator/test_tnn_layers.py",
    "exporters/tnn/evaluator/*": "exporters/tnn/evaluator/test_tnn_files.py",
    "exporters/*/nms.py": "exporters/test_nms.py",
    "exporters/*/detector.py": "exporters/test_nms.py",
    "exporters/*/session.py": "exporters/test_session.py",
    "exporters/ncnn/files.py": "exporters/ncnn/test_fp16.py",
    "exporters/ncnn/*": "exporters/ncnn/test_compute.py",
    "exporters/tnn/*": "exporters/tnn/test_emit.py",
    "exporters/coreml/*": "exporters/coreml/test_writer.py",
    "exporters/tflite/*": "exporters/tflite/test_writer.py",
    "apps/*": "apps/test_commands.py",
    "cli/app.py": "apps/test_commands.py",
    "exporters/apart.py": "hostile/test_damage.py",
    "system/tables.py": "cli/test_screens.py",
    "exporters/row.py": "exporters/test_table.py",
    "exporters/config.py": "exporters/test_table.py",
    "exporters/interface.py": "test_pipeline.py",
    "pipeline/*": "test_pipeline.py",
    "lowering/lower.py": "lowering/test_refusals.py",
    "lowering/*": "lowering/test_ops.py",
    "passes/linear_branches.py": "passes/test_merge_branches.py",
    "passes/exchange.py": "passes/test_order_products.py",
    "passes/spellings.py": "passes/test_normalize_ops.py",
    "passes/split_layer.py": "passes/test_move_less.py",
    "passes/prove.py": "test_pipeline.py",
    "passes/remove_noops.py": "passes/test_cleanup.py",
    "passes/fold_constants.py": "passes/test_cleanup.py",
    "passes/join_axes.py": "passes/test_limit_rank.py",
    "graph/affine*.py": "passes/test_fold_scales.py",
    "graph/pointwise.py": "passes/test_move_less.py",
    "graph/chains.py": "graph/test_rearrange.py",
    "graph/layers.py": "passes/test_compose_layers.py",
    "graph/*": "graph/test_capture.py",
    "quantization/ranges.py": "quantization/test_histogram.py",
    "quantization/*": "quantization/test_plan.py",
    "parity/compare.py": "parity/test_judge.py",
    "parity/faithful.py": "parity/test_judge.py",
    "parity/reference.py": "parity/test_judge.py",
    "parity/report.py": "parity/test_judge.py",
    "parity/session.py": "exporters/test_session.py",
    "artifacts/damage.py": "hostile/test_damage.py",
    "artifacts/fields.py": "artifacts/test_manifest.py",
    "artifacts/*": "artifacts/test_workspace.py",
    "detection/boxes.py": "exporters/test_nms.py",
    "detection/options.py": "exporters/test_nms.py",
    "detection/contract.py": "exporters/test_nms.py",
    "detection/two_stages.py": "models/heads/test_mask_rcnn.py",
    "sources/pt2/*": "sources/test_pt2.py",
    "sources/zips.py": "sources/test_checkpoint.py",
    "sources/labels.py": "sources/test_table.py",
    "sources/*": "sources/test_table.py",
    "models/*": "models/test_table.py",
    "sweep/*": "sweep/test_run.py",
    "cli/*": "cli/test_main.py",
    "bench/cli/*": "bench/cli/test_run.py",
    "bench/devices/adb*.py": "bench/phone/test_device.py",
    "bench/devices/android_facts.py": "bench/phone/test_device.py",
    "bench/devices/qemu.py": "bench/arm/test_prepare.py",
    "bench/devices/local.py": "bench/devices/test_linux.py",
    "bench/devices/device.py": "bench/devices/test_linux.py",
    "bench/arm/*": "bench/arm/test_prepare.py",
    "bench/runners/counting.py": "bench/arm/test_prepare.py",
    "bench/runners/ncnn_native.py": "bench/phone/test_arm.py",
    "bench/runners/*": "bench/cli/test_run.py",
    "bench/plot.py": "bench/test_report.py",
    "bench/tables.py": "bench/test_report.py",
    "bench/compare.py": "bench/cli/test_run.py",
    "bench/*": "bench/test_measure.py",
    "answers/draw.py": "answers/test_decode.py",
    "evaluation/judge.py": "evaluation/test_run.py",
    "placement/providers.py": "placement/test_look.py",
    "placement/record.py": "placement/test_look.py",
    "placement/table.py": "placement/test_look.py",
    "system/threads.py": "graph/test_float64.py",
    "system/versions.py": "test_package.py",
    "errors.py": "test_package.py",
    "operators/*": "operators/test_decompose.py",
}
"""Pattern of modules below mobile_export -> the file below tests; the first that fits."""

MODULES = [
    file.relative_to(PACKAGE).as_posix()
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name not in ("__init__.py", "__main__.py")
]


def place_of(module: str) -> str | None:
    """The file of tests of a module, below tests."""
    folder, _, name = module.rpartition("/")
    own = f"{folder}/test_{name}".lstrip("/")
    if (TESTS / own).is_file():
        return own
    return next((test for pattern, test in PLACES.items() if fnmatch(module, pattern)), None)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_tests(module: str) -> None:
    place = place_of(module)
    assert place is not None, f"no tests/{module} and no row for it"
    assert (TESTS / place).is_file(), place


@pytest.mark.parametrize("pattern", PLACES)
def test_every_row_is_needed(pattern: str) -> None:
    served = [m for m in MODULES if fnmatch(m, pattern) and place_of(m) == PLACES[pattern]]
    own = [m for m in served if (TESTS / f"{m.rpartition('/')[0]}/test_{Path(m).name}").is_file()]
    assert len(served) > len(own), "no module needs it any more"
