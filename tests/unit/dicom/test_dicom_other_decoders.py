"""A frame that one decoder refuses goes to the next that is installed: aloud, and only where there is one answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jpeg_ls
import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from edgeai.api import PixelsRejected
from edgeai.dicom import codecs
from edgeai.dicom.codecs import Decoded
from edgeai.dicom.codestream import read_codestream
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import _compressed, read_frames, read_stored
from edgeai.testing.phantoms import write_instance

Build = Callable[..., Path]
Y, X = np.mgrid[:64, :80]
SMOOTH = (1000 + 300 * np.sin(X / 9) + 500 * np.cos(Y / 7)).astype(np.uint16)
EOI = b"\xff\xd9"


def padded_before_its_end(pixels: np.ndarray) -> bytes:
    """As MR1_JLSL of NEMA's WG-04 set: a byte of zeros between the data and the end; CharLS refuses it since 2.3."""
    stream = bytes(jpeg_ls.encode_array(pixels.view(f"u{pixels.dtype.itemsize}")))
    assert stream.endswith(EOI)
    return stream[:-2] + b"\0" + EOI


@pytest.mark.parametrize(
    "pixels",
    [SMOOTH, SMOOTH.view(np.int16), (SMOOTH // 8).astype(np.uint8)],
    ids=["16 bits", "16 bits, signed", "8 bits"],
)
def test_a_frame_that_the_first_decoder_refuses_is_read_by_the_next(build: Build, pixels: np.ndarray) -> None:
    path = build(pixels, syntax=JPEGLSLossless, frames=[padded_before_its_end(pixels)])
    (frame,) = read_frames(path)
    assert np.array_equal(frame.pixels, pixels)
    assert [note.code for note in frame.notes] == ["pixels.other-decoder"]
    assert "pyjpegls" in frame.notes[0].text
    assert "gdcm" in frame.notes[0].text
    (stored,) = read_stored(path)
    assert np.array_equal(stored, pixels)


def test_a_frame_that_the_first_decoder_reads_says_nothing(build: Build) -> None:
    (frame,) = read_frames(build(SMOOTH, syntax=JPEGLSLossless, frames=[bytes(jpeg_ls.encode_array(SMOOTH))]))
    assert np.array_equal(frame.pixels, SMOOTH)
    assert frame.notes == ()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_a_frame_that_is_cut_short_is_refused_by_all(tmp_path: Path, build: Build, syntax: str) -> None:
    whole = codestream(write_instance(tmp_path / "whole.dcm", SMOOTH, transfer_syntax=syntax).path)
    for length in (len(whole) // 2, len(whole) * 9 // 10):
        with pytest.raises(PixelsRejected) as refused:
            list(read_frames(build(SMOOTH, syntax=syntax, frames=[whole[:length]])))
        assert refused.value.code == "pixels.codec"


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("samples", [1, 3])
def test_decoders_agree_on_what_they_all_read(tmp_path: Path, syntax: str, samples: int) -> None:
    """So it does not matter which one gave it; JPEG colour, where each converts in its own way, has one alone."""
    grey = (SMOOTH // 8).astype(np.uint8) if syntax == JPEGBaseline8Bit or samples == 3 else SMOOTH
    pixels = grey if samples == 1 else np.stack((grey, grey[::-1], grey[:, ::-1]), axis=-1)
    path = write_instance(tmp_path / "image.dcm", pixels, transfer_syntax=syntax).path
    layout = read_header(path).pixels
    assert layout is not None
    data = codestream(path)
    stream = read_codestream(data, layout)
    first = codecs._first(layout, stream)
    others = codecs._others(first, layout, stream)
    assert bool(others) == (syntax != JPEGBaseline8Bit or samples == 1)
    by_first = codecs._by(first, data, layout, stream)
    for name in others:
        another = codecs._by(name, data, layout, stream)
        assert np.array_equal(another.values, by_first.values), name
        assert another.photometric_interpretation == by_first.photometric_interpretation


def test_decoders_that_disagree_give_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_instance(tmp_path / "image.dcm", SMOOTH, transfer_syntax=JPEG2000Lossless).path
    real = codecs._by

    def one_off(name: str, *args: object) -> Decoded:
        if name == "pylibjpeg":
            raise PixelsRejected("no", code="pixels.codec")
        decoded = real(name, *args)  # type: ignore[arg-type]
        return Decoded(decoded.values + (name == "gdcm"), decoded.photometric_interpretation)

    monkeypatch.setattr(codecs, "_by", one_off)
    with pytest.raises(PixelsRejected, match="gdcm and pillow disagree") as refused:
        list(read_frames(path))
    assert refused.value.code == "pixels.codec"


def codestream(path: Path) -> bytes:
    layout = read_header(path).pixels
    assert layout is not None
    ((_, data, _),) = _compressed(path, layout, [1])
    return data
