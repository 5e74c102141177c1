"""Whether pixels are signed is never guessed: without Pixel Representation integers are no image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from edgeai.api.errors import PixelsRejected
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames


@pytest.mark.parametrize("is_empty", [False, True])
def test_integers_without_a_sign_do_not_decode(make_dicom: Callable[..., Path], is_empty: bool) -> None:
    path = make_dicom()
    dataset = pydicom.dcmread(path)
    if is_empty:
        dataset.PixelRepresentation = None
    else:
        del dataset.PixelRepresentation
    dataset.save_as(path)
    assert read_header(path).instance.rows == 16  # the header is read: nothing else depends on it
    with pytest.raises(PixelsRejected, match="PixelRepresentation") as refused:
        list(read_frames(path))
    assert refused.value.code == "pixels.bits"
