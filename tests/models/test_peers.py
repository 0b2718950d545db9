"""The networks that the papers name beside their own families, against the official code.

``data/peers.json.gz`` holds keys and shapes of the official modules' state dicts,
``golden_peers.json`` sampled outputs of the official code in float64 for the weights (those of two
dimensions or more times ``gain``) and the input of ``fill.py``. Made from
Tianfang-Zhang/CAS-ViT@041d2d6, suous/RecNeXt@a0277f4, JierunChen/TVConv@609d4bf,
noahzn/Lite-Mono@4874b35 (the first output of encoder and decoder), leftthomas/ESPCN@b1dd698,
nmhkahn/CARN-pytorch@40d3514, xinghaochen/SqueezeTime@465900f (backbone and head of its K400
configuration), e-lab/pytorch-linknet@99a7c81 (before the log-softmax), xuebinqin/U-2-Net@ac7e1c8
(the first output).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mobile_export.errors import UsageError, WeightsError
from mobile_export.graph.float64 import Float64Mode
from mobile_export.graph.specs import InputSpec
from mobile_export.models import table
from mobile_export.parity.samples import parity_samples
from mobile_export.pipeline import ExportReport
from mobile_export.sources.initialize import natural_images
from mobile_export.sources.table import load_source
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.fill import fill_input, fill_tensor

PEERS = [
    entry
    for entry in table.entries()
    if entry.family not in ("EMO", "FreeNet", "Mobile-Former", "SeaFormer", "SeaFormer++")
]
DATA = Path(__file__).parent / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_peers.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((DATA / "peers.json.gz").read_bytes())
)
QUICK = {
    "cas_vit_xs",
    "cas_vit_xs?heads=1",
    "recnext_m0",
    "recnext_a0",
    "recnext_t",
    "tvconv_mobilenetv2_x0_1",
    "lite_mono_tiny",
    "lite_mono?trained=1024x320",
    "espcn_x3",
    "carn_m_x2",
    "carn_m_x3",
    "carn_m_x4",
    "squeezetime",
    "linknet",
    "u2netp",
}


def build(spec: str) -> torch.nn.Module:
    name, _, query = spec.partition("?")
    entry = table.get(name)
    return entry.build(**entry.parse_options(query))


def test_every_peer_was_compared() -> None:
    assert {spec.partition("?")[0] for spec in GOLDEN} == {entry.name for entry in PEERS}
    assert {spec.partition("?")[0] for spec in SHAPES} == {entry.name for entry in PEERS}
    assert set(GOLDEN) >= QUICK


@pytest.mark.parametrize("spec", sorted(SHAPES))
def test_state_dict_is_the_official_one(spec: str) -> None:
    with torch.device("meta"):
        state = build(spec).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[spec]
    assert list(state) == list(SHAPES[spec]), "same order, too"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, marks=() if spec in QUICK else pytest.mark.matrix)
        for spec in sorted(GOLDEN)
    ],
)
def test_outputs_are_the_official_ones(spec: str) -> None:
    golden = GOLDEN[spec]
    module = build(spec)
    assert sum(p.numel() for p in module.parameters()) == golden["params"]
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            value = torch.from_numpy(fill_tensor(key, list(tensor.shape)))
            tensor.copy_(value * golden["gain"] if value.ndim >= 2 else value)
    image = torch.from_numpy(fill_input(golden["input_shape"])).double()
    with torch.no_grad(), Float64Mode():
        output = module.eval().double()(image)
    assert list(output.shape) == golden["output_shape"]
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(
        output.flatten()[golden["indices"]], expected, rtol=0, atol=1e-9 * golden["max_abs"]
    )
    assert float(output.abs().mean()) == pytest.approx(golden["mean_abs"], rel=1e-9)
    assert float(output.abs().max()) == pytest.approx(golden["max_abs"], rel=1e-9)


def test_dilations_follow_the_training_size() -> None:
    assert GOLDEN["lite_mono"]["values"] != GOLDEN["lite_mono?trained=1024x320"]["values"]
    assert GOLDEN["lite_mono_8m"]["values"] == GOLDEN["lite_mono_8m?trained=1024x320"]["values"]


# Parameters in millions (README or paper, as `Published.source` says) of whole modules; RecNeXt's
# README counts them folded, SqueezeTime's paper without the classifier of 2048 x 400 + 400.
WHOLE = [e for e in PEERS if e.published.params_m and e.family not in ("RecNeXt", "SqueezeTime")]


@pytest.mark.parametrize("entry", WHOLE, ids=lambda entry: entry.name)
def test_parameters_are_the_papers(entry: table.ModelEntry) -> None:
    params_m = cost_of(entry.name).parameters / 1e6
    assert params_m == pytest.approx(entry.published.params_m, rel=0.03)


def test_parameters_of_squeezetime_without_its_classifier() -> None:
    published = table.get("squeezetime").published
    params = cost_of("squeezetime").parameters - (2048 * 400 + 400)
    assert params / 1e6 == pytest.approx(published.params_m, rel=0.03)


def folded_parameters(module: torch.nn.Module) -> int:
    """With norms folded into convolutions, parallel depthwise branches and both heads into one."""
    count = 0
    for name, child in module.named_modules():
        if name.endswith(("head_dist.linear", ".sk.conv")):
            continue
        if isinstance(child, torch.nn.Linear):
            count += child.weight.numel() + child.out_features
        elif isinstance(child, torch.nn.Conv2d):
            recursive = ".token_mixer.down" in name or ".convs." in name
            bare = recursive and child.bias is None and not name.endswith(".conv")
            count += child.weight.numel() + (0 if bare else child.out_channels)
    return count


RECNEXT = [e for e in PEERS if e.family == "RecNeXt"]


@pytest.mark.parametrize("entry", RECNEXT, ids=lambda entry: entry.name)
def test_folded_parameters_are_the_readmes(entry: table.ModelEntry) -> None:
    with torch.device("meta"):
        params = folded_parameters(entry.build())
    assert params / 1e6 == pytest.approx(entry.published.params_m, rel=0.03)


COUNTED = [e for e in PEERS if e.published.macs_m]


@pytest.mark.parametrize("entry", COUNTED, ids=lambda entry: entry.name)
def test_macs_are_the_papers(entry: table.ModelEntry) -> None:
    """Within 3 %, or to the one digit of a gigaflop that RecNeXt's README prints."""
    macs_m, printed = cost_of(entry.name).macs / 1e6, entry.published.macs_m
    assert printed is not None
    if entry.family == "RecNeXt":
        assert abs(macs_m - printed) <= 60
    else:
        assert macs_m == pytest.approx(printed, rel=0.03)


@pytest.mark.parametrize(
    ("name", "size", "macs_g"),
    [
        ("carn_m_x2", (360, 640), 91.2),
        ("carn_m_x3", (240, 426), 46.1),
        ("carn_m_x4", (180, 320), 32.5),
    ],
)
def test_mult_adds_of_carn_m(name: str, size: tuple[int, int], macs_g: float) -> None:
    """The paper's table (assets/table.png of the official code), for a result of 720x1280."""
    from mobile_export.models.cost import measure_entry

    assert measure_entry(table.get(name), size).macs / 1e9 == pytest.approx(macs_g, rel=0.01)


def test_tvconv_is_counted_without_the_network_that_makes_its_weights() -> None:
    from mobile_export.models.cost import measure

    entry = table.get("tvconv_mobilenetv2_x0_1")
    with_maps = measure(entry.build(), entry.input_shape()).macs
    assert cost_of(entry.name).macs < with_maps / 100


@pytest.mark.parametrize("stride", [1, 2])
def test_tvconv_by_hand(stride: int) -> None:
    """Every pixel's own weights, by loops; the weights do not depend on the image."""
    from mobile_export.models.tvconv.network import TVConv

    torch.manual_seed(0)
    module = TVConv(2, (3, 4), stride).double()
    x = torch.randn(2, 2, 3 * stride, 4 * stride, dtype=torch.float64)
    with torch.no_grad():
        weight = module.weight_layers(module.posi_map).reshape(2, 3, 3, 3, 4)
        got = module(x)
    padded = F.pad(x, (1, 1, 1, 1))
    for row in range(3):
        for column in range(4):
            top, left = row * stride, column * stride
            patch = padded[:, :, top : top + 3, left : left + 3]
            expected = (patch * weight[:, :, :, row, column]).sum((2, 3))
            torch.testing.assert_close(got[:, :, row, column], expected)


def test_linear_attention_is_the_same_in_either_order() -> None:
    """Against the definition: positive weights q·k, normalised, over all pixels."""
    from mobile_export.models.recnext.mixers import LinearAttention

    torch.manual_seed(0)
    for height, width in ((2, 2), (5, 7)):  # fewer and more pixels than the 8 channels of a key
        module = LinearAttention(16, 2, key_dim=16, groups=2).double().eval()
        x = torch.randn(1, 16, height, width, dtype=torch.float64)
        with torch.no_grad():
            q, k = (F.elu(module.qk(x)) + 1).flatten(2).reshape(2, 2, 8, -1)
            weights = torch.einsum("hcn,hcm->hnm", q, k)
            weights = weights / (weights.mean(-1, keepdim=True) + 1e-6) / (height * width)
            mixed = torch.einsum("hnm,hcm->hcn", weights, x.reshape(2, 8, -1))
            expected = mixed.reshape(x.shape) + module.pe(x)
            torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)


def same_weights(name: str, *queries: str, size: tuple[int, int]) -> list[torch.Tensor]:
    """Outputs of one model with the same random weights under each of these options."""
    entry = table.get(name)
    torch.manual_seed(0)
    modules = [entry.build(**entry.parse_options(query)).eval() for query in queries]
    for module in modules:
        module.load_state_dict(modules[0].state_dict())
    image = torch.rand(entry.input_shape(size))
    with torch.no_grad():
        return [module(image) for module in modules]


def test_outputs_of_a_depth_model() -> None:
    logits, disparity, depth = same_weights(
        "lite_mono_tiny", "output=logits", "output=disparity", "output=depth", size=(32, 64)
    )
    torch.testing.assert_close(disparity, logits.sigmoid())
    scaled = 0.01 + (10 - 0.01) * disparity  # the official disp_to_depth with 0.1 and 100
    torch.testing.assert_close(depth, 1 / scaled)
    assert depth.shape == (1, 1, 32, 64)


def test_outputs_of_a_saliency_model() -> None:
    logits, mask, labels = same_weights(
        "u2netp", "output=logits", "output=probabilities", "output=labels", size=(33, 50)
    )
    torch.testing.assert_close(mask, logits.sigmoid())
    assert labels.dtype == torch.int64
    assert labels.shape == (1, 33, 50)
    assert torch.equal(labels, (mask[:, 0] > 0.5).long())


def test_outputs_of_linknet() -> None:
    logits, upsampled, labels = same_weights(
        "linknet", "output=logits", "output=upsampled", "output=labels", size=(32, 64)
    )
    assert logits.shape == (1, 19, 32, 64)
    assert torch.equal(logits, upsampled)
    assert torch.equal(labels, logits.argmax(1))


@pytest.mark.parametrize("name", ["cas_vit_xs", "recnext_m0", "recnext_a0", "recnext_t", "u2netp"])
@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_any_input_size(name: str, size: tuple[int, int]) -> None:
    module = table.get(name).build().eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
    assert torch.isfinite(output).all()
    assert output.shape == ((1, 1, *size) if name == "u2netp" else (1, 1000))


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [
        ("linknet", (100, 200), "96x192"),
        ("lite_mono", (100, 640), "96x640"),
        ("tvconv_mobilenetv2_x0_1", (112, 100), "112x96"),
        ("linknet", (5, 64), "32x64"),
    ],
)
def test_sizes_that_a_model_cannot_take(name: str, size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(UsageError, match="must be multiples of") as caught:
        load_source(name, size=size)
    assert f"--size {nearest}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "size", "said", "nearest"),
    [
        ("lite_mono", (16, 640), "multiples of 16 and 32 or more", "32x640"),
        ("lite_mono", (20, 20), "multiples of 16 and 32 or more", "32x32"),
        ("squeezetime", (28, 100), "must be 29 or more", "29x100"),
    ],
)
def test_sizes_that_are_too_small(
    name: str, size: tuple[int, int], said: str, nearest: str
) -> None:
    entry = table.get(name)
    with pytest.raises(UsageError, match=said) as caught:
        entry.check_size(size)
    assert f"--size {nearest}." in str(caught.value.hint)


@pytest.mark.parametrize("entry", [e for e in PEERS if e.min_size > 1], ids=lambda e: e.name)
def test_the_least_size_is_the_least(entry: table.ModelEntry) -> None:
    least, smaller = entry.min_size, entry.min_size - entry.size_step
    with torch.device("meta"):
        module = entry.build().eval()
        module(torch.empty(entry.input_shape((least, least))))
        with pytest.raises(RuntimeError):
            module(torch.empty(entry.input_shape((smaller, smaller))))


def test_sizes_make_weights_of_tvconv() -> None:
    source = load_source("tvconv_mobilenetv2_x0_1", size=(32, 48))
    with torch.no_grad():
        assert source.module(torch.zeros(1, 3, 32, 48)).shape == (1, 512)
    assert source.input.channel_order == "BGR"
    assert source.labels is None


def test_classes_and_channels_that_a_model_does_not_have() -> None:
    with pytest.raises(UsageError, match="lite_mono tells no classes apart"):
        load_source("lite_mono", size=(32, 64), num_classes=10)
    with pytest.raises(UsageError, match="takes RGB images, not 1 channels"):
        load_source("carn_m_x2", size=(16, 16), channels=1)
    with pytest.raises(UsageError, match="has no trained '320'"):
        load_source("lite_mono?trained=320", size=(32, 64))
    with pytest.raises(UsageError, match="output is 'mask'"):
        table.get("u2netp").build(output="mask")


def test_a_clip_is_the_input_of_a_video_classifier() -> None:
    source = load_source("squeezetime", size=(32, 32), num_classes=7)
    assert source.input.shape == (1, 3, 16, 32, 32)
    assert source.input.size == (32, 32)
    with torch.no_grad():
        assert source.module(torch.zeros(source.input.shape)).shape == (1, 7)


def test_a_clip_is_printed_by_its_size(
    exported: Callable[..., ExportReport], capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export.cli.console import print_export

    print_export(replace(exported("onnx"), input_shape=(1, 3, 16, 48, 64)))
    assert " at 48x64" in capsys.readouterr().out


def test_natural_clips_pan_over_an_image() -> None:
    spec = InputSpec(shape=(1, 3, 4, 32, 48), mean=(0.5,) * 3, std=(0.25,) * 3)
    for sample in parity_samples(spec):
        assert tuple(sample.image.shape) == spec.shape
    clip = parity_samples(spec)[-1].image
    torch.testing.assert_close(clip[:, :, 1], clip[:, :, 0].roll(2, -1))
    assert float(clip.std()) > 0.2
    random = natural_images((2, *spec.shape[1:]), torch.Generator().manual_seed(0))
    assert tuple(random.shape) == (2, 3, 4, 32, 48)
    assert float(random.std()) == pytest.approx(1, abs=0.01)


def save(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def zeros(spec: str, **changed: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {key: torch.zeros(changed.get(key, tuple(s))) for key, s in SHAPES[spec].items()}


def test_checkpoint_of_another_variant_is_named(tmp_path: Path) -> None:
    path = save({"model": zeros("recnext_a1")}, tmp_path / "a1.pth")  # type: ignore[dict-item]
    with pytest.raises(WeightsError) as caught:
        load_weights(build("recnext_m1"), path)
    assert "fits recnext_a1." in str(caught.value.hint)
    path = save(zeros("cas_vit_xs?heads=1"), tmp_path / "xs.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(build("cas_vit_xs"), path)
    assert "fits cas_vit_xs?heads=1." in str(caught.value.hint)
    path = save(zeros("carn_m_x2"), tmp_path / "carn.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(build("espcn_x2"), path)
    assert "fits carn_m_x2 and carn_m_x3 and carn_m_x4." in str(caught.value.hint)


def test_checkpoint_of_another_number_of_classes(tmp_path: Path) -> None:
    """A transposed convolution has its classes on the second axis."""
    state = zeros("linknet")
    state["tp_conv2.weight"] = torch.zeros(32, 11, 2, 2)
    state["tp_conv2.bias"] = torch.zeros(11)
    path = save(state, tmp_path / "camvid.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(build("linknet"), path)
    assert "add --num-classes 11" in str(caught.value.hint)
    assert load_weights(table.get("linknet").build(num_classes=11), path).kind == "checkpoint"


def test_a_folder_of_parts(tmp_path: Path) -> None:
    """Lite-Mono's official training saves encoder.pth, with facts beside the tensors, and more."""
    state = {k: torch.full(v, 0.5) for k, v in SHAPES["lite_mono_tiny"].items()}
    parts: dict[str, dict[str, Any]] = {
        "encoder": {"height": 192, "use_stereo": False},
        "depth": {},
    }
    for key, value in state.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    for part, content in parts.items():
        torch.save(content, tmp_path / f"{part}.pth")
    (tmp_path / "pose.pth").write_bytes(b"left alone")
    module = build("lite_mono_tiny")
    info = load_weights(module, tmp_path)
    assert info.path == str(tmp_path)
    assert info.sha256 is not None
    assert all(bool((p == 0.5).all()) for p in module.parameters())
    (tmp_path / "depth.pth").rename(tmp_path / "depth_decoder.pth")
    with pytest.raises(WeightsError, match="needs one file for 'depth'"):
        load_weights(module, tmp_path)
    with pytest.raises(WeightsError, match=r"is a folder, not a checkpoint; .*encoder\.pth"):
        load_weights(build("espcn_x2"), tmp_path)


def test_zoo_rows_of_peers_are_cheap_to_read() -> None:
    for entry in PEERS:
        assert entry.published.source
        assert entry.size[0] % entry.size_step == entry.size[1] % entry.size_step == 0
