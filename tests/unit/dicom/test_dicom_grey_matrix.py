"""Grey levels against two other readers: DCMTK renders each image, pydicom computes it, and edgeai agrees with both.

The images have no symmetry and reach both ends of their range, so that a wrong sign, a swapped pair, half a unit too
many or a mirrored table shows.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ImplicitVRLittleEndian

from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames
from edgeai.plugins import Registry

Build = Callable[..., Path]
Array = np.ndarray
ROWS, COLUMNS = 24, 31
RESCALES: dict[str, tuple[float, float] | None] = {
    "as stored": None,
    "Hounsfield": (1, -1024),
    "steep": (3, -100),
    "falling": (-1, 900),
    "fractions": (2.5, -100),
    "small": (0.001, 0),
}
"""DCMTK rounds what leaves the Modality step to whole numbers, so that with fractions pydicom alone is the witness."""


class Bits(NamedTuple):
    """Bits Stored, Bits Allocated and High Bit."""

    stored: int
    allocated: int
    high: int

    def levels(self, signed: bool) -> tuple[int, int]:
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if signed else (0, (1 << self.stored) - 1)


FRACTIONS = ("fractions", "small")
BITS = [Bits(8, 8, 7), Bits(10, 16, 9), Bits(12, 16, 11), Bits(16, 16, 15), Bits(12, 16, 15)]
ALL = list(itertools.product(BITS, [False, True], RESCALES))
IDS = ["-".join((f"{b.stored}in{b.allocated}h{b.high}", "signed" if s else "unsigned", r)) for b, s, r in ALL]
NOT_SMALL = [name for name in IDS if not name.endswith("small")]


@cache
def stored(bits: Bits, signed: bool) -> Array:
    """A falling, bent ramp with noise and both extremes, each in a corner of its own."""
    low, high = bits.levels(signed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    shape = (x / COLUMNS) ** 2 * 0.7 + 0.3 * (1 - y / ROWS) ** 3
    noise = np.random.default_rng(bits.stored).normal(0, 0.03, shape.shape)
    values = np.clip(np.rint(low + (shape + noise) * (high - low)), low, high).astype(np.int64)
    values[0, 0], values[0, -1], values[-1, 2] = low, high, (low + high) // 3
    return values


def image(build: Build, bits: Bits, signed: bool, photometric: str = "MONOCHROME2", **attributes: Any) -> Path:
    dtype = f"{'i' if signed else 'u'}{bits.allocated // 8}"
    shifted = stored(bits, signed) << (bits.high + 1 - bits.stored)
    described = {"BitsStored": bits.stored, "HighBit": bits.high}
    return build(shifted.astype(dtype), photometric, **described, **attributes)


def rescaled(rescale: str) -> dict[str, Any]:
    pair = RESCALES[rescale]
    if pair is None:
        return {}
    return {"RescaleSlope": pair[0], "RescaleIntercept": pair[1], "RescaleType": "US"}


def units(bits: Bits, signed: bool, rescale: str) -> tuple[float, float]:
    """Least and greatest value after the Modality step."""
    slope, intercept = RESCALES[rescale] or (1, 0)
    ends = [slope * end + intercept for end in bits.levels(signed)]
    return min(ends), max(ends)


@cache
def step(name: str, **options: Any) -> Any:
    return Registry.of(["transforms"]).transforms[name].build(options)


def shown(path: Path, use: str = "window", index: int = 1) -> Array:
    """What a model would see, 0 to 1, white high."""
    (frame,) = read_frames(path)
    return np.asarray(step("invert", top=1).apply(step("window", use=use, index=index).apply(frame)).pixels, np.float64)


def by_dcmtk(dcm2pnm: str, path: Path, *options: str) -> Array:
    """The same as DCMTK renders it, in 16 bits."""
    out = path.with_suffix(".pgm")
    subprocess.run([dcm2pnm, "+opn", "16", *options, path, out], check=True, capture_output=True, timeout=600)
    words = out.read_text(encoding="ascii").split()
    width, height, white = map(int, words[1:4])
    return np.array(words[4:], dtype=np.float64).reshape(height, width) / white


def by_pydicom(path: Path, bits: Bits, signed: bool, rescale: str) -> Array:
    """A window as pydicom applies it: to the range of the units. It knows no High Bit, so that it gets the values."""
    dataset = pydicom.dcmread(path)
    values = apply_modality_lut(stored(bits, signed).astype("i4"), dataset)
    slope, intercept = RESCALES[rescale] or (1, 0)
    black, top = (slope * end + intercept for end in bits.levels(signed))
    white = (apply_voi_lut(values, dataset, prefer_lut=False) - black) / (top - black)
    return 1 - white if dataset.PhotometricInterpretation == "MONOCHROME1" else white


# --- windows ----------------------------------------------------------------------------------------


PRODUCT = list(
    itertools.product(
        ("MONOCHROME2", "MONOCHROME1"), ("LINEAR", "LINEAR_EXACT", "SIGMOID"), ((0.3, 0.4), (0.8, 0.05), (0.5, 1.7))
    )
)
"""Every other of these has each two of them together; `make torture` has the rest."""


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.torture)])
@pytest.mark.parametrize(("bits", "signed", "rescale"), ALL, ids=IDS)
def test_windows(build: Build, dcm2pnm: str, bits: Bits, signed: bool, rescale: str, half: int) -> None:
    low, high = units(bits, signed, rescale)
    for photometric, function, (centre, width) in PRODUCT[half::2]:
        window = {"WindowCenter": round(low + centre * (high - low), 4), "WindowWidth": round(width * (high - low), 4)}
        if function == "LINEAR" and window["WindowWidth"] < 1:
            continue
        path = image(build, bits, signed, photometric, **rescaled(rescale), **window, VOILUTFunction=function)
        ours = shown(path)
        assert ours.std() > 0.01
        np.testing.assert_allclose(ours, by_pydicom(path, bits, signed, rescale), atol=2e-6)
        if function != "LINEAR_EXACT" and rescale not in FRACTIONS:  # which DCMTK does not know
            np.testing.assert_allclose(ours, by_dcmtk(dcm2pnm, path, "+Wi", "1"), atol=3e-5)


@pytest.mark.parametrize("width", [1, 1.5, 2])
def test_the_narrowest_windows_that_linear_has(build: Build, dcm2pnm: str, width: float) -> None:
    path = image(build, BITS[2], True, WindowCenter=-300, WindowWidth=width)
    np.testing.assert_allclose(shown(path), by_dcmtk(dcm2pnm, path, "+Wi", "1"), atol=3e-5)
    assert read_header(path).notes == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("width", [0.9, 0.5, 0.001])
def test_below_one_linear_is_linear_exact_and_said(build: Build, photometric: str, width: float) -> None:
    """Of LINEAR's own formula a falling ramp would come (width - 1 is negative); DCMTK and pydicom refuse it."""
    window = {"WindowCenter": 0.7, "WindowWidth": width, "RescaleSlope": 0.0003, "RescaleIntercept": 0.1}
    path = image(build, BITS[2], False, photometric, **window)
    exact = image(build, BITS[2], False, photometric, **window, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_array_equal(shown(path), shown(exact))
    assert shown(path).std() > 0.2
    assert [note.code for note in read_header(path).notes] == ["dicom.doubtful"]
    assert "WindowWidth (0028,1051)" in read_header(path).notes[0].text
    assert read_header(exact).notes == ()
    sigmoid = image(build, BITS[2], False, photometric, **window, VOILUTFunction="SIGMOID")
    assert read_header(sigmoid).notes == ()


def test_inverting_before_a_window_is_inverting_after_it(build: Build) -> None:
    for function, width in itertools.product(("LINEAR", "LINEAR_EXACT", "SIGMOID"), (0.6, 1, 700)):
        path = image(build, BITS[2], True, "MONOCHROME1", WindowCenter=12.3, WindowWidth=width, VOILUTFunction=function)
        (frame,) = read_frames(path)
        before = step("window").apply(step("invert").apply(frame)).pixels
        np.testing.assert_allclose(before, shown(path), atol=1e-6)


@pytest.mark.parametrize(
    ("centres", "widths", "window"),
    [
        ([None, 100, 50], [20, None, 101], (50, 101)),
        ([None, 50], [20, 101], (50, 101)),
        ([100, 50], [None, 101], (50, 101)),
        ([100, 50], [0, 101], (50, 101)),
        ([100, 50], [-5, 101], (50, 101)),
        ([50, None], [101, None], (50, 101)),
    ],
)
def test_a_window_is_a_pair_of_the_same_place(build: Build, centres: Any, widths: Any, window: Any) -> None:
    written = {"WindowCenter": ["" if c is None else c for c in centres]}
    path = image(build, BITS[0], False, **written, WindowWidth=["" if w is None else w for w in widths])
    assert [(w.center, w.width) for w in read_header(path).grayscale.windows] == [window]
    assert [note.code for note in read_header(path).notes] == ["dicom.ignored-value"]


# --- look-up tables ---------------------------------------------------------------------------------


def lut(first: int, entries: int, bits: int, vr: str | None = None) -> Dataset:
    """A bent table, falling and then rising, that spans its bits."""
    x = np.linspace(0, 1, entries)
    table = np.rint((0.3 * np.cos(5 * x) ** 2 + 0.7 * x**3) * ((1 << bits) - 1)).astype("<u2")
    table[0], table[-1] = table.max() // 5, (1 << bits) - 1
    made = Dataset()
    made.add_new(0x00283002, vr or ("SS" if first < 0 else "US"), [entries % 0x10000, first, bits])
    made.add_new(0x00283006, "OW", table.tobytes())
    return made


@pytest.mark.parametrize(("bits", "signed", "rescale"), [case for case in ALL if case[2] != "small"], ids=NOT_SMALL)
def test_voi_luts(build: Build, dcm2pnm: str, bits: Bits, signed: bool, rescale: str) -> None:
    """The first value's sign follows what leaves the Modality step (PS3.3 C.11.2.1.1), not the stored pixels."""
    low, high = units(bits, signed, rescale)
    for photometric, (begin, part, out) in itertools.product(
        ("MONOCHROME1", "MONOCHROME2"), ((0.0, 1.0, 16), (0.1, 0.5, 12), (0.6, 0.2, 8))
    ):
        first = max(int(low + begin * (high - low)), -0x8000)
        first = min(first, 0x7FFF if low < 0 else 0xFFFF)
        entries = min(max(2, int(part * (high - low))), 0xFFFF)
        table = lut(first, entries, out)
        path = image(build, bits, signed, photometric, **rescaled(rescale), VOILUTSequence=[table])
        ours = shown(path, "lut")
        (read,) = read_header(path).grayscale.voi_luts
        assert (read.first, len(read.data), read.bits) == (first, entries, out)
        assert ours.std() > 0.01
        data = np.frombuffer(table.LUTData, "<u2") / ((1 << out) - 1)
        slope, intercept = RESCALES[rescale] or (1, 0)
        levels = stored(bits, signed) * slope + intercept
        exact = data[np.clip(np.rint(levels) - first, 0, entries - 1).astype(int)]
        expected = exact if photometric == "MONOCHROME2" else 1 - exact
        if float(slope).is_integer():
            np.testing.assert_allclose(ours, expected, atol=1e-6)
            dcmtk = by_dcmtk(dcm2pnm, path, "+Wl", "1")
            np.testing.assert_allclose(ours, dcmtk, atol=1.1 / (1 << out) + 3e-5)
            if out > 8 and high - first <= 0xFFFF:  # pydicom counts in as many bits as an entry has
                values = apply_modality_lut(stored(bits, signed).astype("i4"), pydicom.dcmread(path))
                theirs = apply_voi_lut(values.astype("i4"), pydicom.dcmread(path)) / ((1 << out) - 1)
                np.testing.assert_allclose(theirs if photometric == "MONOCHROME2" else 1 - theirs, ours, atol=1e-6)
        else:  # between two entries every reader has its own way
            steps = np.abs(np.diff(data)).max() + 1e-6
            np.testing.assert_allclose(ours, expected, atol=steps)


@pytest.mark.parametrize(
    ("signed", "rescale", "written", "first"),
    [
        (False, None, 0x8000, 0x8000),
        (False, None, 0xFC00, 0xFC00),
        (True, None, 0xFC00, -1024),
        (False, (1, -1024), 0xFC00, -1024),
        (False, (-1, 0), 0xFC00, -1024),
        (False, (1, 1024), 0x8000, 0x8000),
        (True, (1, 32768), 0x8000, 0x8000),
        (True, (1, 100), 0xFC00, -1024),
        (False, (1, -100), 0xF000, 0xF000),  # as SS it would lie below all that is looked up
        (False, (1, -1024), 1024, 1024),
    ],
)
@pytest.mark.parametrize("how", ["SS", "US", "implicit"])
def test_the_first_value_has_the_sign_of_what_is_looked_up(
    build: Build, how: str, signed: bool, rescale: tuple[float, float] | None, written: int, first: int
) -> None:
    """Whatever value representation was written: of an explicit one all three values have the same, which is not so."""
    vr = "US" if how == "implicit" else how
    value = written - 0x10000 if vr == "SS" and written >= 0x8000 else written
    attributes: dict[str, Any] = {"VOILUTSequence": [lut(value, 1000, 12, vr)]}
    if rescale:
        attributes |= {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1], "RescaleType": "US"}
    if how == "implicit":
        attributes["syntax"] = ImplicitVRLittleEndian
    path = image(build, Bits(16, 16, 15), signed, **attributes)
    (read,) = read_header(path).grayscale.voi_luts
    assert read.first == first


@pytest.mark.parametrize("signed", [False, True])
def test_a_modality_lut_gives_what_is_never_negative(build: Build, dcm2pnm: str, signed: bool) -> None:
    """Its own first value has the sign of the pixels; that of the VOI LUT behind it has none."""
    bits = Bits(12, 16, 11)
    low, _ = bits.levels(signed)
    modality = lut(low + 100, 3000, 16)
    modality.ModalityLUTType = "US"
    path = image(build, bits, signed, ModalityLUTSequence=[modality], VOILUTSequence=[lut(0x9000, 0x5000, 16, "US")])
    grey = read_header(path).grayscale
    assert grey.modality_lut is not None
    assert (grey.modality_lut.first, grey.voi_luts[0].first) == (low + 100, 0x9000)
    np.testing.assert_allclose(shown(path, "lut"), by_dcmtk(dcm2pnm, path, "+Wl", "1"), atol=5e-5)


@pytest.mark.parametrize("compressed", [True, False])
def test_what_dcmtk_compressed_itself(
    build: Build, dcm2pnm: str, dcmj2pnm: str, dcmcjpeg: str, compressed: bool
) -> None:
    """Lossless JPEG, by DCMTK's own codec on both sides."""
    window = {"WindowCenter": -300, "WindowWidth": 900, **rescaled("Hounsfield")}
    for photometric, signed in itertools.product(("MONOCHROME1", "MONOCHROME2"), (False, True)):
        path = image(build, BITS[2], signed, photometric, **window)
        expected = by_dcmtk(dcm2pnm, path, "+Wi", "1")
        if compressed:
            small = path.with_name(f"small-{path.name}")
            subprocess.run([dcmcjpeg, "+e1", path, small], check=True, capture_output=True, timeout=600)
            np.testing.assert_array_equal(by_dcmtk(dcmj2pnm, small, "+Wi", "1"), expected)
            path = small
        np.testing.assert_allclose(shown(path), expected, atol=3e-5)
