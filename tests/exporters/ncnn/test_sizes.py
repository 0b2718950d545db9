"""One list of layers for several sizes; expected numbers are ncnn's own, or worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export import export
from mobile_export.errors import LoweringError
from mobile_export.exporters.ncnn.files import NcnnLayer, Param, Weight
from mobile_export.exporters.ncnn.sizes import for_all_sizes

SIZES = ((8, 12), (16, 20), (24, 12))
SAID = ("8x12", "16x20", "24x12")


def lists(kind: str, *params: dict[int, Param], **of: Any) -> list[list[NcnnLayer]]:
    """An image of three channels and one layer behind it, at each size."""
    return [
        [
            NcnnLayer("Input", "image", (), ("image",), {0: width, 1: height, 2: 3}),
            NcnnLayer(kind, "made", ("image",), ("made",), given, **of),
        ]
        for (height, width), given in zip(SIZES, params, strict=True)
    ]


def merged(given: list[list[NcnnLayer]]) -> list[NcnnLayer]:
    return for_all_sizes(given, [{"image": (3, *size)} for size in SIZES], SAID)


def test_an_image_of_any_size_has_channels_alone() -> None:
    image, _ = merged(lists("ReLU", {}, {}, {}))
    assert image.params == {2: 3}


def test_one_extent_that_differs_is_what_is_left() -> None:
    shapes: list[dict[int, Param]] = [{0: h * w, 1: 3} for h, w in SIZES]
    assert merged(lists("Reshape", *shapes))[1].params == {0: -1, 1: 3}


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("Reshape", [{0: w // 4, 1: h // 2, 2: 24} for h, w in SIZES], {6: "//(0w,4),//(0h,2),24"}),
        ("Reshape", [{0: w, 1: h * 3} for h, w in SIZES], {6: "0w,*(0h,3)"}),
        ("Interp", [{0: 2, 3: h * 3 // 2, 4: w * 2} for h, w in SIZES], None),
        (
            "Crop",
            [{9: (1,), 10: (h - 1,), 11: (1,)} for h, _ in SIZES],
            {19: "1", 20: "+(0h,-1)", 21: "1"},
        ),
        ("Slice", [{0: (h // 2,) * 2, 1: 1} for h, _ in SIZES], {0: (-233, -233), 1: 1}),
    ],
)
def test_numbers_that_follow_from_an_extent(
    kind: str, params: list[dict[int, Param]], expected: dict[int, Param] | None
) -> None:
    expected = expected or {0: 2, 9: "*(0w,2),//(*(0h,3),2)"}
    assert merged(lists(kind, *params))[1].params == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lists("Pooling", {1: 8}, {1: 16}, {1: 24}), "made .Pooling. has other numbers at 8x12"),
        (lists("Reshape", {0: 1, 1: 5}, {0: 2, 1: 7}, {0: 3, 1: 4}), "made .Reshape. has other"),
        (
            [*lists("ReLU", {}, {}, {})[:2], lists("TanH", {}, {}, {})[2]],
            "at made .ReLU. it has other layers at 8x12 and at 24x12",
        ),
    ],
)
def test_what_follows_from_no_extent_is_refused_by_its_layer(
    given: list[list[NcnnLayer]], said: str
) -> None:
    with pytest.raises(LoweringError, match=said):
        merged(given)


def test_other_stored_numbers_are_refused() -> None:
    rows = [
        lists("MemoryData", {0: 1}, {0: 1}, {0: 1}, weights=(Weight(np.array([value])),))
        for value in (1.0, 2.0)
    ]
    with pytest.raises(LoweringError, match="it stores other numbers"):
        merged([rows[0][0], rows[0][1], rows[1][2]])


class Windows(nn.Module):
    """Reshapes of the map in four axes and back, halves, and a row cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.stem(x)
        n, c, h, w = y.shape
        y = y.reshape(n, c, h // 2, 2, w).amax(3).reshape(n, c, h // 2, w // 2, 2).mean(4)
        left, right = y.chunk(2, 3)
        return (left - right).exp(), x[:, :, 1:-1, :].flatten(2).softmax(-1)


def test_a_file_is_right_at_a_size_that_it_was_not_made_from(tmp_path: Path) -> None:
    import ncnn

    torch.manual_seed(0)
    module = Windows().eval()
    report = export(module, "ncnn", tmp_path, name="m", precision="fp32", size=16, dynamic="size")
    assert report.artifacts[0].parity.passed
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, option, False)
    assert not net.load_param(str(tmp_path / "m.ncnn.param"))
    assert not net.load_model(str(tmp_path / "m.ncnn.bin"))
    image = torch.randn(1, 3, 40, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = module.double()(image.double())
    for name, exact in zip(("output_0", "output_1"), wanted, strict=True):
        extractor = net.create_extractor()
        extractor.input("image", ncnn.Mat(image[0].numpy()).clone())
        status, got = extractor.extract(name)
        assert not status
        np.testing.assert_allclose(np.array(got), exact[0].numpy(), atol=1e-6)
