"""What the user types: found, built, described; or one clear error."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from mobile_export.api import create_model
from mobile_export.errors import MissingExtraError, SourceError, UsageError, WeightsError
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD
from mobile_export.sources.labels import imagenet_labels, labels_for
from mobile_export.sources.request import parse_size
from mobile_export.system.install import install_command
from tests.conftest import load_source

# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("224", (224, 224)),
        ("512x1024", (512, 1024)),
        ("1X2", (1, 2)),
        (" 32 ", (32, 32)),
        ("0032", (32, 32)),
    ],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "x", "224x", "x224", "-1", "224x0", "1.5", "2x3x4", "2 x 2", "٣", "1e3", "9999999"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="HEIGHTxWIDTH"):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    try:
        height, width = parse_size(text)
    except UsageError:
        return
    assert height > 0
    assert width > 0


# ---------------------------------------------------------------- labels


def test_labels_are_imagenets_and_unique() -> None:
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert all(label and label == label.strip() for label in labels)
    # Indices that everybody knows.
    assert [labels[i] for i in (0, 1, 207, 281, 817, 999)] == [
        "tench",
        "goldfish",
        "golden retriever",
        "tabby",
        "sports car",
        "toilet tissue",
    ]
    assert labels[134] == "crane bird"
    assert labels[517] == "construction crane"


def test_labels_follow_torchvision() -> None:
    meta = pytest.importorskip("torchvision.models._meta")
    pairs = zip(imagenet_labels(), meta._IMAGENET_CATEGORIES, strict=True)
    different = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(different) <= 3
    assert all("crane" in ours or "maillot" in ours for ours, _ in different)


def test_labels_only_for_a_thousand_classes() -> None:
    assert labels_for(1000) == imagenet_labels()
    assert labels_for(10) is labels_for(None) is None


# ---------------------------------------------------------------- the zoo


def test_zoo_with_random_weights() -> None:
    source = load_source("emo_1m", seed=4, size=(64, 96))
    assert source.spec == "emo_1m"
    assert source.input.shape == (1, 3, 64, 96)
    assert source.input.mean == IMAGENET_MEAN
    assert source.input.std == IMAGENET_STD
    assert source.input.channel_order == "RGB"
    assert (source.weights.kind, source.weights.seed) == ("random", 4)
    assert "RANDOM" in source.weights.describe()
    assert source.labels == imagenet_labels()
    assert source.exported is None
    assert not any(module.training for module in source.module.modules())
    assert {p.dtype for p in source.module.parameters()} == {torch.float32}


def test_zoo_with_everything_else() -> None:
    source = load_source(
        "emo_1m", num_classes=7, channels=1, size=(32, 32), mean=(0.5,), std=(0.2,)
    )
    assert source.labels is None
    assert (source.input.mean, source.input.std) == ((0.5,), (0.2,))
    assert source.input.channel_order == "L"
    with torch.no_grad():
        assert source.module(torch.zeros(source.input.shape)).shape == (1, 7)
    grey = load_source("emo_1m", channels=1, size=(32, 32)).input
    assert grey.mean == pytest.approx((sum(IMAGENET_MEAN) / 3,))


def test_zoo_with_a_checkpoint(tmp_path: Path) -> None:
    state = create_model("emo_1m", seed=9, size=(32, 32)).state_dict()
    path = tmp_path / "emo.safetensors"
    save_file(state, path)
    source = load_source("emo_1m", weights=path, size=(32, 32))
    assert source.weights.kind == "checkpoint"
    weights = dict(source.module.named_parameters()) | dict(source.module.named_buffers())
    assert all(torch.equal(v, state[k]) for k, v in weights.items() if v.is_floating_point())
    module = create_model("emo_1m", str(path), 12, allow_missing=True)
    assert torch.equal(module.state_dict()["norm.norm.weight"], state["norm.norm.weight"])
    with pytest.raises(WeightsError, match="`num_classes=1000`"):
        create_model("emo_1m", path, 12)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("emo2m", "emo_2m"),
        ("EMO-5M", "emo_5m"),
        ("emo_3m", "emo_"),
        ("weights.pth", "`weights='weights.pth'`"),
        ("./model.safetensors", "`weights="),
        ("mynet.py", "mynet:FUNCTION"),
        ("complete nonsense", "mobile-export list"),
        ("", "mobile-export list"),
    ],
)
def test_unknown_names(name: str, guess: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_source(name)
    assert guess in str(caught.value)


def test_a_python_file_in_the_folder_is_recognised(project: Callable[..., Path]) -> None:
    project(mynet="")
    with pytest.raises(SourceError, match="mynet:FUNCTION"):
        load_source("mynet")


def test_timm_names_are_suggested() -> None:
    pytest.importorskip("timm")
    with pytest.raises(SourceError, match=r"Did you mean timm/resnet18\b"):
        load_source("resnet18")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"num_classes": -1}, "`num_classes` is -1"),
        ({"channels": -1}, "`channels` is -1"),
        ({"size": (0, 3)}, "`size` is 0.\nIt must be a whole number from 1"),
        ({"size": (32.5, 32)}, "`size` is 32.5"),
        ({"size": (3,)}, "`size` (3,) is not a size"),
        ({"size": ((32, 32), 64)}, "`size` ((32, 32), 64) is not a size"),
        ({"num_classes": 10**30}, "`num_classes` is 1000"),
        ({"mean": (float("nan"),)}, "`mean` is nan"),
        ({"std": (1.0, float("inf"), 1.0)}, "`std` is inf"),
        ({"size": (100_000, 100_000)}, "10,000,000,000 pixels"),
        ({"seed": -1}, "`seed` is -1"),
        ({"std": (0.0,)}, "`std`"),
        ({"mean": (1.0, 2.0)}, "`mean` has 2 values"),
        ({"pretrained": True, "weights": Path("w.pth")}, "exclude each other"),
        ({"allow_missing": True}, "`allow_missing` needs `weights="),
    ],
)
def test_bad_options(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_source("emo_1m", **kwargs)
    assert said in str(caught.value)


# ---------------------------------------------------------------- timm


def test_timm_brings_its_own_input() -> None:
    timm = pytest.importorskip("timm")
    source = load_source("timm/mobilevit_xxs", seed=1)
    config = timm.get_pretrained_cfg("mobilevit_xxs")
    assert source.input.shape == (1, *config.input_size) == (1, 3, 256, 256)
    assert source.input.mean == config.mean == (0.0, 0.0, 0.0)
    assert source.weights.kind == "random"
    assert source.labels == imagenet_labels()


def test_timm_options() -> None:
    pytest.importorskip("timm")
    source = load_source("timm/mobilenetv3_small_050", num_classes=3, channels=1, size=(64, 32))
    with torch.no_grad():
        assert source.module(torch.zeros(source.input.shape)).shape == (1, 3)
    assert len(source.input.mean) == 1


def test_timm_models_of_fixed_size_are_built_for_the_size() -> None:
    pytest.importorskip("timm")
    source = load_source("timm/vit_tiny_patch16_224", size=(64, 96))
    with torch.no_grad():
        assert source.module(torch.zeros(source.input.shape)).shape == (1, 1000)


def test_timm_unknown_name() -> None:
    pytest.importorskip("timm")
    with pytest.raises(SourceError, match=r"timm/resnet18"):
        load_source("timm/resnett18")
    with pytest.raises(SourceError, match=r"no model called 'hf-hub:a/b'"):
        load_source("timm/hf-hub:a/b")


def test_timm_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("timm"))):
        load_source("timm/resnet18")
    with pytest.raises(SourceError, match="no model called"):
        load_source("resnet18")


def test_timm_refusal_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def refuse(name: str, **kwargs: object) -> None:
        raise AssertionError("image size must be a multiple of 32")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(SourceError, match=r"could not build .* with img_size=.*multiple of 32"):
        load_source("timm/vit_tiny_patch16_224", size=(65, 65))


def test_pretrained_offline_is_one_quick_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    import huggingface_hub

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    start = time.perf_counter()
    with pytest.raises(SourceError) as caught:
        load_source("timm/resnet18", pretrained=True)
    assert time.perf_counter() - start < 5
    text = str(caught.value)
    assert "timm/resnet18.a1_in1k" in text
    assert "No network?" in text
    assert "`weights='FILE'`" in text
    assert capfd.readouterr().err == ""


def test_pretrained_from_the_cache_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    import huggingface_hub

    trained = timm.create_model("mobilenetv3_small_050")
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda *a, **k: str(tmp_path / "model.safetensors"),
    )
    source = load_source("timm/mobilenetv3_small_050", pretrained=True)
    assert source.weights.kind == "pretrained"
    state = source.module.state_dict()
    assert all(torch.equal(state[k], v) for k, v in trained.state_dict().items())
    source = load_source("timm/mobilenetv3_small_050", pretrained=True, num_classes=4)
    assert "classifier of 4 classes is random" in " ".join(source.weights.notes)


def test_no_pretrained_weights() -> None:
    timm = pytest.importorskip("timm")
    trained = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    name = next(n for n in timm.list_models("*resnet*") if n not in trained)
    with pytest.raises(SourceError, match="no pretrained weights"):
        load_source(f"timm/{name}", pretrained=True)


# ---------------------------------------------------------------- the user's own code

MYNET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width=4, num_classes=10, name="x"):
            super().__init__()
            self.conv = nn.Conv2d(3, width, 3, padding=1)
            self.head = nn.Linear(width, num_classes)
            self.arguments = (width, num_classes, name)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    def build(width=4, *, num_classes=10):
        return Net(width, num_classes)

    def plain():
        return Net()

    instance = Net(2)
    number = 3

    class nested:
        build = staticmethod(build)

    def fails():
        raise RuntimeError("no luck\\nat all")

    def leaves():
        raise SystemExit(3)

    def gives_a_list():
        return [Net()]

    def half():
        return Net().half()

    def evaluated():
        return Net().eval()

    def partly():
        net = Net().eval()
        net.head.train()
        return net

    def anything(**kwargs):
        return Net(**kwargs)

    def on_meta():
        with torch.device("meta"):
            return Net()

    class Two(nn.Module):
        def forward(self, image, mask):
            return image * mask

    class Named(nn.Module):
        def forward(self, image, *, mask):
            return image * mask

    class Optional(nn.Module):
        def forward(self, image, mask=None, **kwargs):
            return image

    class Dynamic(nn.Module):
        pass

    def with_attributes():
        net = Net(num_classes=1000)
        net.img_size = 48
        net.in_chans = 3
        net.default_cfg = {"input_size": (3, 99, 99), "mean": (0.5, 0.5, 0.5), "std": [1, 1, 2]}
        return net

    def with_input_size():
        net = Net()
        net.input_size = (1, 20, 30)
        return net
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A current folder with these modules: name=source."""

    def make(**modules: str) -> Path:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


@pytest.fixture
def mynet(project: Callable[..., Path]) -> Path:
    return project(mynet=MYNET)


@pytest.mark.parametrize(
    ("spec", "width", "classes"),
    [
        ("mynet:build", 4, 10),
        ("mynet:build?width=2", 2, 10),
        ("mynet:build?width=2&num_classes=3", 2, 3),
        ("mynet:Net?width=6", 6, 10),
        ("mynet:nested.build", 4, 10),
        ("mynet:instance", 2, 10),
        ("mynet:anything?width=3", 3, 10),
    ],
)
@pytest.mark.usefixtures("mynet")
def test_factories(spec: str, width: int, classes: int) -> None:
    path = list(sys.path)
    source = load_source(spec)
    assert sys.path == path
    assert source.spec == spec
    assert source.module.conv.out_channels == width  # type: ignore[union-attr]
    assert source.module.head.out_features == classes  # type: ignore[union-attr]
    assert source.input.shape == (1, 3, 224, 224)
    assert (source.input.mean, source.input.std) == ((0.0,) * 3, (1.0,) * 3)
    assert source.weights.kind == "own"
    assert "[0, 1]" in " ".join(source.weights.notes)
    assert not source.module.training


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", 1e-3), ("True", True), ("(1,2)", (1, 2)), ("a b", "a b"), ("'3'", "3"),
     ("a%26b", "a&b"), ("None", None), ("x=y", "x=y")],
)  # fmt: skip
@pytest.mark.usefixtures("mynet")
def test_values_are_literals_or_text(text: str, value: object) -> None:
    module = load_source(f"mynet:Net?name={text}").module
    assert module.arguments[2] == value  # type: ignore[index]


@pytest.mark.usefixtures("mynet")
def test_num_classes_reaches_the_factory() -> None:
    assert create_model("mynet:build", num_classes=1000)
    assert load_source("mynet:build", num_classes=1000).labels == imagenet_labels()
    assert load_source("mynet:anything", num_classes=4).labels is None
    with pytest.raises(UsageError, match=r"takes no argument num_classes"):
        load_source("mynet:plain", num_classes=4)
    with pytest.raises(UsageError, match=r"contradicts"):
        load_source("mynet:build?num_classes=3", num_classes=4)
    with pytest.raises(UsageError, match=r"module already"):
        load_source("mynet:instance", num_classes=4)


@pytest.mark.usefixtures("mynet")
def test_runs_repeat_and_leave_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = (create_model("mynet:build", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["conv.weight"], other["conv.weight"])


@pytest.mark.parametrize(
    ("spec", "noted"),
    [
        ("mynet:build", "training mode"),
        ("mynet:partly", "Parts of the model were in training mode"),
        ("mynet:half", "converted from float16 to float32"),
    ],
)
@pytest.mark.usefixtures("mynet")
def test_what_is_changed_is_noted(spec: str, noted: str) -> None:
    source = load_source(spec, mean=(0.0,))
    assert noted in " ".join(source.weights.notes)
    assert {p.dtype for p in source.module.parameters()} == {torch.float32}
    assert not any(module.training for module in source.module.modules())
    assert load_source("mynet:evaluated", mean=(0.0,)).weights.notes == ()


@pytest.mark.usefixtures("mynet")
def test_the_users_own_object_is_not_changed() -> None:
    module = load_source("mynet:instance").module
    assert sys.modules["mynet"].instance.training
    assert module is not sys.modules["mynet"].instance


@pytest.mark.usefixtures("mynet")
def test_facts_about_the_input() -> None:
    source = load_source("mynet:with_attributes")
    assert source.input.shape == (1, 3, 48, 48)
    assert source.input.mean == (0.5, 0.5, 0.5)
    assert source.input.std == (1.0, 1.0, 2.0)
    assert source.labels == imagenet_labels()
    assert load_source("mynet:with_input_size").input.shape == (1, 1, 20, 30)
    assert load_source("mynet:with_attributes", size=(8, 9), channels=4, mean=(0,), std=(1,)).input.shape == (1, 4, 8, 9)  # fmt: skip  # noqa: E501


@pytest.mark.usefixtures("mynet")
def test_a_checkpoint_for_the_users_own_model(tmp_path: Path) -> None:
    state = create_model("mynet:build", seed=8).state_dict()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    source = load_source("mynet:build", weights=tmp_path / "w.pth")
    assert source.weights.kind == "checkpoint"
    assert all(torch.equal(v, state[k]) for k, v in source.module.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mynett:build", r"no Python module 'mynett' in .*\n.*Did you mean mynet"),
        ("mynet:bild", r"mynet\.py has no 'bild'.\n.*Did you mean build"),
        ("mynet:nested.bild", r"has no 'bild'"),
        ("mynet:number", r"is a int, not a function"),
        ("mynet:fails", r"RuntimeError: no luck \(.*mynet\.py:28\)"),
        ("mynet:leaves", r"sys\.exit.*mynet\.py:31"),
        ("mynet:gives_a_list", r"gave a builtins\.list, not a torch\.nn\.Module"),
        ("mynet:build?wide=2", r"'wide'.*\n.*build\(width=4, \*, num_classes=10\)"),
        ("mynet:on_meta", r"meta device"),
        ("mynet:Two", r"inputs image, mask"),
        ("mynet:Named", r"inputs image, mask"),
    ],
)
@pytest.mark.usefixtures("mynet")
def test_what_goes_wrong_with_a_factory(spec: str, said: str) -> None:
    import re

    with pytest.raises(SourceError) as caught:
        load_source(spec)
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.usefixtures("mynet")
def test_optional_inputs_are_fine() -> None:
    assert load_source("mynet:Optional")


@pytest.mark.parametrize(
    "spec",
    ["mynet.py:build", "models/mynet:build", "my net:build", "mynet:", ":build", "mynet:1x",
     "mynet:build?width", "mynet:build?1=2", "mynet:a:b"],
)  # fmt: skip
@pytest.mark.usefixtures("mynet")
def test_what_is_no_factory(spec: str) -> None:
    with pytest.raises(UsageError):
        load_source(spec)


@pytest.mark.usefixtures("mynet")
def test_pretrained_is_not_for_factories() -> None:
    with pytest.raises(UsageError, match=r"mynet:build\?width=2&pretrained=True"):
        load_source("mynet:build?width=2", pretrained=True)


def test_imports_that_fail(project: Callable[..., Path]) -> None:
    project(
        needs="import surely_not_installed_module\n",
        broken="def build(:\n",
        stops="import sys\n\nsys.exit(1)\n",
        raises="\n\nx = 1 / 0\n",
    )
    for spec, said in [
        ("needs:build", r"needs the module 'surely_not_installed_module'.*needs\.py:1"),
        ("broken:build", r"SyntaxError.*broken\.py:1"),
        ("stops:build", r"__main__.*stops\.py:3"),
        ("raises:build", r"ZeroDivisionError: division by zero \(.*raises\.py:3\)"),
    ]:
        with pytest.raises(SourceError, match=said):
            load_source(spec)


def test_packages_and_relative_imports(project: Callable[..., Path]) -> None:
    folder = project()
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "parts.py").write_text("from torch import nn\nLayer = nn.Conv2d\n")
    (folder / "package" / "net.py").write_text(
        "from .parts import Layer\ndef build():\n    return Layer(3, 4, 1)\n"
    )
    assert isinstance(load_source("package.net:build").module, nn.Conv2d)
    with pytest.raises(SourceError, match=r"no Python module 'package\.missing'"):
        load_source("package.missing:build")


def test_the_current_folder_wins_over_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, width in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "samename.py").write_text(
            f"from torch import nn\nbuild = lambda: nn.Conv2d(3, {width}, 1)\n"
        )
        monkeypatch.chdir(folder)
        assert load_source("samename:build").module.out_channels == width


def test_quantised_modules_are_refused(project: Callable[..., Path]) -> None:
    project(
        quantised="""
        import torch

        def build():
            net = torch.nn.Sequential(torch.nn.Linear(4, 4))
            return torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear})
        """
    )
    with pytest.raises(SourceError, match="quantised"):
        load_source("quantised:build")


def test_installed_packages_work_too() -> None:
    pytest.importorskip("torchvision")
    source = load_source("torchvision.models:mobilenet_v3_small?width_mult=0.5", num_classes=3)
    with torch.no_grad():
        assert source.module(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_a_compiled_module_is_the_module_inside() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    source = load_source(torch.compile(module), size=(8, 8))
    assert type(source.module) is nn.Sequential


def test_timm_models_return_their_features_with_a_file_of_the_whole_model(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model("resnet10t").eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    spec = "timm/resnet10t?features_only=True&out_indices=(1,2)"
    source = load_source(spec, weights=tmp_path / "whole.pth", size=32)
    assert source.output_names == ("features_1", "features_2")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        x = whole.maxpool(whole.act1(whole.bn1(whole.conv1(image))))
        exact = whole.layer1(x), whole.layer2(whole.layer1(x))
        for got, wanted in zip(source.module(image), exact, strict=True):
            torch.testing.assert_close(got, wanted)


def test_a_timm_model_without_a_classifier_returns_features() -> None:
    pytest.importorskip("timm")
    source = load_source("timm/resnet10t", num_classes=0, size=32)
    assert source.output_names == ("features",)
    assert source.module(torch.zeros(1, 3, 32, 32)).shape == (1, 512)
    with pytest.raises(UsageError, match="is for timm models"):
        load_source("emo_1m", num_classes=0)


@pytest.mark.parametrize("model", ["timm/resnet10t", "emo_1m", "emo_1m+fcn"])
def test_an_option_of_the_program_behind_a_name_is_told_from_the_models(model: str) -> None:
    with pytest.raises(UsageError, match="by itself, with `num_classes`") as error:
        load_source(f"{model}?num_classes=3")
    assert error.value.hint == f"Ask for {model}, with `num_classes=3`."


@pytest.mark.parametrize("query", ["checkpoint_path=/etc/passwd", "out_indices=(1.5,)", "nothing"])
def test_options_of_timm_models_are_few(query: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UsageError):
        load_source(f"timm/resnet10t?{query}")
