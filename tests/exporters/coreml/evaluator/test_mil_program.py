"""Loading, float16 emulation, classifiers, images, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_build import coremltools, program_of

from mobile_export.errors import ArtifactError, ExecutionError, UnsupportedOpError
from mobile_export.exporters.coreml.evaluator import MilProgram, TensorSpec, load_program
from mobile_export.system.quiet import quiet

F16 = np.float16


def _builder() -> Any:
    return coremltools().converters.mil.mil.Builder


def _half_program(body: Any, path: Path, **inputs: np.ndarray) -> MilProgram:
    """A program whose inputs and ops are float16 (iOS 16 has float16 inputs)."""
    return program_of(body, inputs, path, "iOS16")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small float32 program: conv, relu, and a mean; its weights are in the weight file."""
    path = tmp_path_factory.mktemp("small") / "small.mlpackage"
    mb = _builder()
    weight = np.linspace(-1, 1, 36, dtype=np.float32).reshape(4, 1, 3, 3)

    def body(image: Any) -> Any:
        y = mb.relu(x=mb.conv(x=image, weight=weight, pad_type="same", name="first"), name="second")
        return mb.reduce_mean(x=y, axes=[2, 3], name="pooled")

    program_of(body, {"image": np.zeros((1, 1, 5, 5), np.float32)}, path)
    return path


class TestInterface:
    def test_description(self, small: Path) -> None:
        program = load_program(small)
        assert program.inputs == (TensorSpec("image", (1, 1, 5, 5), "fp32"),)
        assert program.outputs == ("pooled",)
        assert program.opset == "CoreML5"
        assert program.precision == "fp32"
        assert program.classes is None
        assert program.unsupported() == ()
        assert program.op_counts() == {"conv": 1, "relu": 1, "reduce_mean": 1}

    def test_run_gives_float32_arrays(self, small: Path) -> None:
        image = np.random.default_rng(0).standard_normal((1, 1, 5, 5)).astype(np.float32)
        weight = torch.linspace(-1, 1, 36).reshape(4, 1, 3, 3)
        result = load_program(small).run({"image": image})
        expect = torch.conv2d(torch.from_numpy(image), weight, padding=1).relu().mean((2, 3))
        assert result["pooled"].dtype == np.float32
        np.testing.assert_allclose(result["pooled"], expect.numpy(), rtol=1e-5)

    def test_watch_sees_every_op_in_order(self, small: Path) -> None:
        seen: list[tuple[str, str, str, tuple[int, ...]]] = []
        program = load_program(small)
        program.run(
            {"image": np.ones((1, 1, 5, 5), np.float32)},
            watch=lambda name, kind, output, value: seen.append(
                (name, kind, output, tuple(value.shape))
            ),
        )
        assert [item[:2] for item in seen] == [
            ("first", "conv"),
            ("second", "relu"),
            ("pooled", "reduce_mean"),
        ]
        assert [item[3] for item in seen] == [(1, 4, 5, 5), (1, 4, 5, 5), (1, 4)]
        names = [item[2] for item in seen]
        assert program.dependencies() == {
            names[0]: ("image",),
            names[1]: (names[0],),
            names[2]: (names[1],),
        }

    def test_runs_do_not_influence_each_other(self, small: Path) -> None:
        program = load_program(small)
        rng = np.random.default_rng(1)
        first, second = rng.standard_normal((2, 1, 1, 5, 5)).astype(np.float32)
        before = program.run({"image": first})["pooled"]
        program.run({"image": second})
        np.testing.assert_array_equal(program.run({"image": first})["pooled"], before)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({}, r"inputs \[\]"),
            ({"picture": np.zeros((1, 1, 5, 5))}, "picture"),
            ({"image": np.zeros((1, 1, 5, 4))}, r"shape \(1, 1, 5, 4\)"),
            ({"image": np.zeros((1, 5, 5))}, r"shape \(1, 5, 5\)"),
        ],
    )
    def test_wrong_inputs_are_named(self, small: Path, inputs: Any, message: str) -> None:
        with pytest.raises(ExecutionError, match=message) as caught:
            load_program(small).run(inputs)
        assert "image" in str(caught.value.hint) or "(1, 1, 5, 5)" in str(caught.value.hint)


class TestConstants:
    """Immediate and stored constants are what coremltools' own reader finds."""

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
    @pytest.mark.parametrize("size", [3, 40])  # more than ten elements go to the weight file
    def test_numbers(self, tmp_path: Path, dtype: str, size: int) -> None:
        values = (np.random.default_rng(2).standard_normal(size) * 1000).astype(dtype)
        mb = _builder()
        body = lambda x: mb.mul(x=mb.const(val=values), y=x)  # noqa: E731
        program = program_of(body, {"x": np.ones((1,), dtype)}, tmp_path / "c.mlpackage", "iOS16")
        (result,) = program.run({"x": np.ones((1,), dtype)}).values()
        assert result.dtype == values.dtype
        np.testing.assert_array_equal(result, values)

    def test_weights_agree_with_the_reader_of_coremltools(self, small: Path) -> None:
        ct = coremltools()
        with quiet():
            from coremltools.converters.mil.frontend.milproto.load import load as reference_load

            model = ct.models.MLModel(str(small), skip_model_load=True)
            reference = reference_load(
                model.get_spec(),
                specification_version=model.get_spec().specificationVersion,
                file_weights_dir=model.weights_dir,
            )
        constants = {
            op.outputs[0].name: op.outputs[0].val
            for op in reference.functions["main"].operations
            if op.op_type == "const" and isinstance(op.outputs[0].val, np.ndarray)
        }
        ours = load_program(small)._constants
        assert any(value.size > 10 for value in constants.values())
        compared = 0
        for name, value in constants.items():
            if name in ours:
                np.testing.assert_array_equal(np.asarray(ours[name]), value)
                compared += 1
        assert compared >= 2


class TestHalfPrecision:
    def test_every_result_is_rounded(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        x, y = rng.standard_normal((2, 200)).astype(F16)
        mb = _builder()

        def body(x: Any, y: Any) -> Any:
            return mb.add(x=mb.mul(x=x, y=y), y=mb.mul(x=y, y=y))

        program = _half_program(body, tmp_path / "p.mlpackage", x=x, y=y)
        (result,) = program.run({"x": x, "y": y}).values()
        by_hand = x * y + y * y  # numpy rounds each float16 operation
        wide = (x.astype(np.float32) * y + y.astype(np.float32) * y).astype(F16)
        assert program.precision == "fp16"
        assert result.dtype == F16
        assert not np.array_equal(by_hand, wide)
        np.testing.assert_array_equal(result, by_hand)

    def test_overflow_is_infinity(self, tmp_path: Path) -> None:
        x = np.array([300.0, -300.0, 200.0], F16)
        mb = _builder()
        program = _half_program(lambda x: mb.mul(x=x, y=mb.abs(x=x)), tmp_path / "p.mlpackage", x=x)
        (result,) = program.run({"x": x}).values()
        np.testing.assert_array_equal(result, np.array([np.inf, -np.inf, 40000.0], F16))

    def test_sums_accumulate_in_float32(self, tmp_path: Path) -> None:
        """A float16 accumulator of ones would stop at 2048."""
        x = np.ones((1, 3000), F16)
        mb = _builder()
        ones = np.ones((1, 3000), F16)
        program = _half_program(
            lambda x: [mb.linear(x=x, weight=ones), mb.reduce_sum(x=x, axes=[1])],
            tmp_path / "p.mlpackage",
            x=x,
        )
        product, total = program.run({"x": x}).values()
        assert float(product[0, 0]) == float(total[0]) == 3000.0

    def test_softmax_is_computed_in_float32_and_rounded_once(self, tmp_path: Path) -> None:
        x = np.random.default_rng(4).uniform(-5, 5, (1, 50)).astype(F16)
        mb = _builder()
        program = _half_program(lambda x: mb.softmax(x=x, axis=1), tmp_path / "p.mlpackage", x=x)
        (result,) = program.run({"x": x}).values()
        wide = np.exp(x.astype(np.float64))
        np.testing.assert_array_equal(result, (wide / wide.sum()).astype(F16))

    def test_a_float32_program_with_casts_rounds_between_them(self, tmp_path: Path) -> None:
        x = np.array([1.0 + 2.0**-12, 3.0], np.float32)
        mb = _builder()

        def body(x: Any) -> Any:
            return mb.cast(x=mb.square(x=mb.cast(x=x, dtype="fp16")), dtype="fp32")

        program = program_of(body, {"x": x}, tmp_path / "p.mlpackage")
        (result,) = program.run({"x": x}).values()
        assert program.precision == "fp16"
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, [1.0, 9.0])

    def test_a_half_epsilon_is_the_rounded_one(self, tmp_path: Path) -> None:
        x = np.array([0.0], F16)
        mb = _builder()
        program = _half_program(
            lambda x: mb.inverse(x=x, epsilon=F16(1e-4)), tmp_path / "p.mlpackage", x=x
        )
        (result,) = program.run({"x": x}).values()
        assert result[0] == F16(1.0 / np.float32(F16(1e-4)))


class TestFeatures:
    @pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 40, -3]])
    def test_classifier(self, tmp_path: Path, labels: list[Any]) -> None:
        ct, mb = coremltools(), _builder()
        x = np.array([[0.1, 2.0, 0.3]], np.float32)
        program = program_of(
            lambda x: mb.softmax(x=x, axis=1, name="probabilities"),
            {"x": x},
            tmp_path / "c.mlpackage",
            classifier_config=ct.ClassifierConfig(labels),
        )
        assert program.classes == tuple(labels)
        result = program.run({"x": x})
        assert list(result) == list(program.outputs)
        label, probabilities = result.values()
        assert label.item() == labels[1]
        np.testing.assert_allclose(probabilities, np.exp(x[0]) / np.exp(x[0]).sum(), rtol=1e-6)

    def test_image_input_takes_pixels(self, tmp_path: Path) -> None:
        ct, mb = coremltools(), _builder()
        x = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
        program = program_of(
            lambda image: mb.reduce_mean(x=image, axes=[2, 3]),
            {"image": x},
            tmp_path / "i.mlpackage",
            inputs=[ct.ImageType(name="image", shape=(1, 3, 4, 4), scale=0.5, bias=[1, 2, 3])],
        )
        assert program.inputs[0].shape == (1, 3, 4, 4)
        (result,) = program.run({"image": x}).values()
        np.testing.assert_allclose(result, x.mean((2, 3)) * 0.5 + [[1, 2, 3]], rtol=1e-6)

    def test_compressed_weights_need_no_work_at_run_time(self, tmp_path: Path) -> None:
        mb = _builder()
        data = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)

        def body(x: Any) -> Any:
            weight = mb.constexpr_affine_dequantize(
                quantized_data=data, zero_point=np.int8(1), scale=np.float32(0.5), axis=0
            )
            return mb.linear(x=x, weight=weight)

        x = np.ones((1, 4), np.float32)
        program = program_of(body, {"x": x}, tmp_path / "w.mlpackage", "iOS16")
        assert program.op_counts() == {"linear": 1}
        (result,) = program.run({"x": x}).values()
        np.testing.assert_allclose(result, ((data - 1) * 0.5).sum(1)[None])


class TestRefusals:
    def test_unsupported_op(self, tmp_path: Path) -> None:
        mb = _builder()
        program = program_of(
            lambda x: mb.add(x=x, y=mb.random_normal(shape=[3], name="noise")),
            {"x": np.zeros((3,), np.float32)},
            tmp_path / "u.mlpackage",
        )
        assert program.unsupported() == ("random_normal",)
        with pytest.raises(
            UnsupportedOpError, match=r"'random_normal'.*'noise'.*CoreML5"
        ) as caught:
            program.run({"x": np.zeros((3,), np.float32)})
        assert caught.value.hint

    def test_state(self, tmp_path: Path) -> None:
        ct, mb = coremltools(), _builder()
        types = ct.converters.mil.mil.types

        with quiet():

            @mb.program(
                input_specs=[
                    mb.TensorSpec((2,), dtype=types.fp16),
                    mb.StateTensorSpec((2,), dtype=types.fp16),
                ],
                opset_version=ct.target.iOS18,
            )
            def stateful(x: Any, state: Any) -> Any:
                return mb.add(x=x, y=mb.read_state(input=state))

            path = tmp_path / "s.mlpackage"
            model = ct.convert(
                stateful,
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS18,
                skip_model_load=True,
            )
            model.save(str(path))
        program = load_program(path)
        assert program.unsupported() == ("read_state",)
        with pytest.raises(UnsupportedOpError, match="read_state"):
            program.run({"x": np.zeros((2,), F16)})

    def test_an_op_that_fails_is_named(self, tmp_path: Path) -> None:
        mb = _builder()
        x, index = np.zeros((3,), np.float32), np.array([1], np.int32)
        program = program_of(
            lambda x, index: mb.gather(x=x, indices=index, name="picked"),
            {"x": x, "index": index},
            tmp_path / "g.mlpackage",
        )
        with pytest.raises(ExecutionError, match=r"'picked' \(gather, CoreML5\).*index is outside"):
            program.run({"x": x, "index": np.array([3], np.int32)})

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="does not exist") as caught:
            load_program(tmp_path / "no.mlpackage")
        assert ".mlpackage" in str(caught.value.hint)

    def test_a_directory_that_is_no_package(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"no Manifest\.json"):
            load_program(tmp_path)

    def test_a_neural_network(self, tmp_path: Path) -> None:
        ct, mb = coremltools(), _builder()
        with quiet():
            program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 3))])(lambda x: mb.relu(x=x))
            model = ct.convert(program, convert_to="neuralnetwork")
            model.save(str(tmp_path / "n.mlpackage"))
        with pytest.raises(ArtifactError, match="neuralNetwork"):
            load_program(tmp_path / "n.mlpackage")

    @pytest.mark.parametrize("keep", [10, 200, 0.5, 0.9])
    def test_a_truncated_program(self, small: Path, tmp_path: Path, keep: float) -> None:
        broken = tmp_path / "broken.mlpackage"
        shutil.copytree(small, broken)
        model = next(broken.rglob("*.mlmodel"))
        data = model.read_bytes()
        model.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
        with pytest.raises(ArtifactError):
            load_program(broken)

    def test_a_truncated_weight_file(self, small: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.mlpackage"
        shutil.copytree(small, broken)
        weights = next(broken.rglob("weight.bin"))
        weights.write_bytes(weights.read_bytes()[:70])
        with pytest.raises(ArtifactError, match=r"weight\.bin"):
            load_program(broken)

    def test_a_missing_weight_file(self, small: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.mlpackage"
        shutil.copytree(small, broken)
        next(broken.rglob("weight.bin")).unlink()
        with pytest.raises(ArtifactError, match=r"weight\.bin"):
            load_program(broken)

    def test_a_manifest_without_a_root(self, small: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.mlpackage"
        shutil.copytree(small, broken)
        (broken / "Manifest.json").write_text(json.dumps({"itemInfoEntries": {}}))
        with pytest.raises(
            ArtifactError, match="names no root model: it refers to something that is not in it"
        ):
            load_program(broken)
