"""The three outputs of a segmenter against bilinear interpolation written out."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models.segmentation import check_output, finish


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Twice as long: sample i lies at (i + ½)/2 - ½ of the old samples, clamped to their ends."""
    length = x.shape[-1]
    at = ((torch.arange(2 * length, dtype=x.dtype) + 0.5) / 2 - 0.5).clamp(0, length - 1)
    low = at.floor().long().clamp(max=length - 2)
    share = at - low
    return x[..., low] * (1 - share) + x[..., low + 1] * share


def test_logits_upsampled_and_labels() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    expected = doubled(doubled(logits).transpose(-2, -1)).transpose(-2, -1)
    assert finish(logits, (8, 12), "logits") is logits
    upsampled = finish(logits, (8, 12), "upsampled")
    torch.testing.assert_close(upsampled, expected, rtol=1e-12, atol=1e-12)
    labels = finish(logits, (8, 12), "labels")
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected.argmax(1))


def test_logits_of_the_images_size_are_not_touched() -> None:
    logits = torch.randn(1, 5, 4, 6)
    assert finish(logits, (4, 6), "upsampled") is logits
    assert torch.equal(finish(logits, (4, 6), "labels"), logits.argmax(1))


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(ValueError, match="'mask'; it must be one of logits, upsampled, labels"):
        check_output("mask")
    for output in ("logits", "upsampled", "labels"):
        check_output(output)
