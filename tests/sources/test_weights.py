"""Checkpoints: what fits is loaded exactly, what does not is one clear error, and nothing runs."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mobile_export.errors import WeightsError
from mobile_export.models.emo.detector import emo_1m_ssdlite
from mobile_export.models.emo.network import emo_1m, emo_2m
from mobile_export.models.espcn.network import espcn_x2, espcn_x3
from mobile_export.sources.weights import load_weights


def make(width: int = 4, classes: int = 5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv=nn.Conv2d(3, width, 3),
        norm=nn.BatchNorm2d(width),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        head=nn.Linear(width, classes),
    )
    return nn.Sequential(layers).eval()


def state(**kwargs: Any) -> dict[str, torch.Tensor]:
    return dict(make(seed=1, **kwargs).state_dict())


def saved(tmp_path: Path, content: Any, name: str = "weights.pth", **kwargs: Any) -> Path:
    path = tmp_path / name
    torch.save(content, path, **kwargs)
    return path


def refused(module: nn.Module, path: Path, match: str, **kwargs: Any) -> WeightsError:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(module, path, **kwargs)
    assert re.search(match, str(caught.value)), str(caught.value)
    assert "Traceback" not in str(caught.value)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} changed although the checkpoint was refused"
    return caught.value


def same(module: nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    own = module.state_dict()
    return all(torch.equal(own[k], expected[k]) for k in own if "num_batches" not in k)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.safetensors"])
def test_every_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state(), path)
    else:
        torch.save(state(), path)
    module = make()
    info = load_weights(module, path)
    assert same(module, state())
    assert info.kind == "checkpoint"
    assert info.path == str(path)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.seed is None
    assert info.notes == ()


def test_legacy_file_of_old_torch(tmp_path: Path) -> None:
    path = saved(tmp_path, state(), _use_new_zipfile_serialization=False)
    module = make()
    load_weights(module, path)
    assert same(module, state())


WRAPPED: list[tuple[str, Any, str]] = [
    ("net", lambda s: {"net": s}, "'net'"),
    ("net_E", lambda s: {"net_E": s}, "'net_E'"),
    ("net_preferred", lambda s: {"net_E": state(width=4, classes=5) | {"x": s["head.bias"]},
                                 "net": s}, "'net' .it also holds 'net_E'"),
    ("state_dict", lambda s: {"state_dict": s, "epoch": 3}, "'state_dict'"),
    ("ema_preferred", lambda s: {"state_dict": {"a": s["head.bias"]}, "state_dict_ema": s},
     "'state_dict_ema' .it also holds 'state_dict'"),
    ("model", lambda s: {"model": s, "optimizer": {"lr": 0.1}, "best": [1, 2.0, "x"]}, "'model'"),
    ("model_ema", lambda s: {"model_ema": s}, "'model_ema'"),
    ("ema", lambda s: {"ema": s, "model": {"a": s["head.bias"]}}, "'ema' .it also holds 'model'"),
    ("nested", lambda s: {"state_dict": {"model": s}}, "'model'"),
    ("data_parallel", lambda s: {f"module.{k}": v for k, v in s.items()}, "'module.'"),
    ("compiled", lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "'_orig_mod.'"),
    ("both", lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, "module._orig_mod"),
    ("averaged", lambda s: {"n_averaged": torch.tensor(4)}
     | {f"module.{k}": v for k, v in s.items()}, "'module.'"),
    ("lightning", lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()},
                             "pytorch-lightning_version": "2"}, "'model.'"),
    ("deit", lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, name="x")}, "'model'"),
]  # fmt: skip


@pytest.mark.parametrize(("wrap", "noted"), [w[1:] for w in WRAPPED], ids=[w[0] for w in WRAPPED])
def test_wrappers_and_prefixes_are_taken_off_and_noted(
    tmp_path: Path, wrap: Any, noted: str
) -> None:
    module = make()
    info = load_weights(module, saved(tmp_path, wrap(state())))
    assert same(module, state())
    assert re.search(noted, " ".join(info.notes)), info.notes


def test_a_prefix_that_the_model_has_itself_stays(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 3)

    outer, target = Outer(), Outer()
    load_weights(target, saved(tmp_path, outer.state_dict()))
    assert torch.equal(outer.model.weight, target.model.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}
    module = make()
    info = load_weights(module, saved(tmp_path, given))
    assert all(p.dtype == torch.float32 for p in module.parameters())
    assert same(module, {k: v.float() if v.is_floating_point() else v for k, v in given.items()})
    assert ("rounded" in " ".join(info.notes)) == (dtype == torch.float64)


def test_batch_counters_never_matter(tmp_path: Path) -> None:
    given = {k: v for k, v in state().items() if "num_batches" not in k}
    load_weights(make(), saved(tmp_path, given))
    load_weights(make(), saved(tmp_path, given | {"pool.num_batches_tracked": torch.tensor(1)}))


def test_tied_weights_saved_once_per_name(tmp_path: Path) -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    load_weights(module, saved(tmp_path, module.state_dict()))


# ---------------------------------------------------------------- what does not fit


def test_missing_unexpected_and_misshaped_are_named_in_one_error(tmp_path: Path) -> None:
    given = state()
    del given["conv.bias"]
    given["extra.weight"] = torch.zeros(3)
    given["norm.weight"] = torch.zeros(9)
    error = refused(make(), saved(tmp_path, given), r"does not fit")
    text = str(error)
    assert "missing in the file (1): conv.bias" in text
    assert "not in the model (1): extra.weight" in text
    assert "norm.weight is [9], expected [4]" in text


def test_long_lists_are_cut_with_their_counts(tmp_path: Path) -> None:
    given = {f"other.{i}": torch.zeros(1) for i in range(100)}
    error = refused(make(), saved(tmp_path, given), r"not in the model \(100\)")
    assert "and 92 more" in str(error)
    assert len(str(error)) < 1500


def test_another_variant_is_recognised(tmp_path: Path) -> None:
    path = saved(tmp_path, {"net": emo_1m().state_dict()})
    refused(emo_2m(), path, r"This checkpoint fits emo_1m\.")
    path = saved(tmp_path, emo_1m(num_classes=12).state_dict())
    refused(emo_2m(), path, r"fits emo_1m with `num_classes=12`")


def test_another_number_of_classes_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, state(classes=7))
    refused(make(), path, r"`num_classes=7`.*`allow_missing=True`")


def test_classes_of_a_detector_are_not_its_channels(tmp_path: Path) -> None:
    """Six anchors with 20 classes and the background are 126 channels."""
    path = saved(tmp_path, emo_1m_ssdlite(num_classes=20).state_dict())
    refused(emo_1m_ssdlite(), path, r"has 20 classes: add `num_classes=20`,")
    refused(emo_2m(), path, r"fits emo_1m_ssdlite with `num_classes=20`")
    load_weights(emo_1m_ssdlite(num_classes=20), path)


def test_another_scale_is_not_another_number_of_classes(tmp_path: Path) -> None:
    path = saved(tmp_path, espcn_x3().state_dict())
    refused(espcn_x2(), path, r"This checkpoint fits espcn_x3\.")


def test_allow_missing_keeps_the_new_classifier(tmp_path: Path) -> None:
    path = saved(tmp_path, state(classes=7))
    module = make()
    head = module.get_submodule("head").weight.clone()
    info = load_weights(module, path, allow_missing=True, seed=3)
    assert torch.equal(module.get_submodule("head").weight, head)
    assert torch.equal(module.get_submodule("conv").weight, state()["conv.weight"])
    assert "RANDOM (seed 3): head.weight, head.bias" in " ".join(info.notes)
    assert info.seed == 3


def test_allow_missing_drops_an_old_classifier_of_another_form(tmp_path: Path) -> None:
    given = state()
    given["head.fc.weight"] = given.pop("head.weight")
    given["head.fc.bias"] = given.pop("head.bias")
    info = load_weights(make(), saved(tmp_path, given), allow_missing=True)
    assert "not used: head.fc.weight, head.fc.bias" in " ".join(info.notes)


def test_allow_missing_still_refuses_what_the_model_lacks(tmp_path: Path) -> None:
    given = state() | {"extra.weight": torch.zeros(3)}
    refused(make(), saved(tmp_path, given), r"extra\.weight", allow_missing=True)


def test_allow_missing_is_not_for_another_model(tmp_path: Path) -> None:
    path = saved(tmp_path, {"conv.bias": state()["conv.bias"]})
    refused(make(), path, r"at least half", allow_missing=True)
    path = saved(tmp_path, state(width=6))
    refused(make(), path, r"at least half", allow_missing=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["conv.weight", "norm.running_var"])
def test_nan_and_infinity_are_refused(tmp_path: Path, value: float, key: str) -> None:
    given = state()
    given[key].view(-1)[0] = value
    refused(make(), saved(tmp_path, given), rf"NaN or infinity in 1 tensors: {key}")


def test_nan_in_half_precision_is_refused(tmp_path: Path) -> None:
    given = {k: v.half() for k, v in state().items()}
    given["conv.weight"].view(-1)[0] = float("nan")
    refused(make(), saved(tmp_path, given), r"NaN")


def test_infinity_that_belongs_to_the_model_is_let_through(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
            self.linear = nn.Linear(2, 2)

    load_weights(Masked(), saved(tmp_path, Masked().state_dict()))


def test_integers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    given = state()
    given["conv.weight"] = (given["conv.weight"] * 100).to(torch.int8)
    refused(make(), saved(tmp_path, given), r"conv\.weight \(?is int8|conv\.weight is int8")


# ---------------------------------------------------------------- files that are not checkpoints


class Payload:
    """Pickles to a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain_pickle", "inside"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, kind: str) -> None:
    proof = tmp_path / "pwned"
    payload = Payload(f"touch {proof}")
    path = tmp_path / "evil.pth"
    if kind == "plain_pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        content: Any = dict(state(), extra=payload) if kind == "inside" else payload
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    error = refused(make(), path, r"would run code|damaged|not a checkpoint")
    if kind in ("zip", "inside", "legacy"):
        assert "system" in str(error)
        assert "safetensors" in str(error)
    assert not proof.exists()
    pickle.loads(pickle.dumps(payload))
    assert proof.exists(), "the payload itself works, so its absence above means something"


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    error = refused(make(), saved(tmp_path, make()), r"would run code")
    assert "state_dict" in str(error)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(make(), torch.zeros(1, 3, 8, 8)), path)
    refused(make(), path, r"TorchScript.*torch\.jit\.load|TorchScript")


def test_a_saved_program_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(make(), (torch.zeros(1, 3, 8, 8),)), path)
    path = path.rename(tmp_path / "program.pt")
    refused(make(), path, r"torch\.export program")


@pytest.mark.parametrize(
    "content", [[1, 2], 3, "text", torch.zeros(3), {"a": 1}, {}, {"model": {}}]
)
def test_no_tensors_by_name(tmp_path: Path, content: Any) -> None:
    refused(make(), saved(tmp_path, content), r"not a dictionary|no tensors by name")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "legacy.pth"])
def test_truncated_at_many_lengths(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=name != "legacy.pth")
    whole = path.read_bytes()
    lengths = {1, 2, 4, 7, 8, 9, 30, 64, 100, len(whole) // 2, len(whole) - 1}
    lengths |= {len(whole) * part // 10 for part in range(1, 10)}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        refused(make(), path, r"truncated or damaged|not a checkpoint")


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    """Whatever a damaged file provokes is a WeightsError, or the damage was in unused bytes."""
    path = saved(tmp_path, state())
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(WeightsError):
            load_weights(make(), path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    refused(make(), path, r"is empty")


def test_folder(tmp_path: Path) -> None:
    refused(make(), tmp_path, r"is a folder")


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    saved(tmp_path, state(), "emo_2m_net.pth")
    (tmp_path / "notes.txt").touch()
    error = refused(make(), tmp_path / "emo2m_net.pth", r"There is no file")
    assert "emo_2m_net.pth" in str(error)
    assert "notes.txt" not in str(error)
    refused(make(), tmp_path / "nowhere" / "w.pth", r"No checkpoint is in")


@pytest.mark.parametrize("name", ["w.onnx", "w.h5", "weights"])
def test_other_suffixes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    refused(make(), tmp_path / name, r"Valid suffixes: \.pth")


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"{}"]
)
def test_an_error_page_in_place_of_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    refused(make(), path, r"Git LFS pointer")


def test_safetensors_header_that_lies(tmp_path: Path) -> None:
    header = json.dumps(
        {"conv.weight": {"dtype": "F32", "shape": [4, 3, 3, 3], "data_offsets": [0, 10**9]}}
    ).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    refused(make(), path, r"damaged")
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    refused(make(), path, r"damaged")


def test_unreadable_file(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read anything")
    refused(make(), path, r"cannot be read")


def test_training_mode_is_kept(tmp_path: Path) -> None:
    module = make().train()
    load_weights(module, saved(tmp_path, state()))
    assert module.training
