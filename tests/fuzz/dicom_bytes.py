"""What every fuzzer of DICOM files asks: do foreign bytes end in frames or in an ``EdgeaiError``, and in nothing else?

Not a test module. ``test_dicom_fuzz.py`` runs it with hypothesis; with atheris it explores by coverage::

    python tests/fuzz/dicom_bytes.py -max_total_time=600 CORPUS_FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgeai.api import EdgeaiError
from edgeai.dicom.header import read_header
from edgeai.dicom.limits import HeaderLimits, PixelLimits
from edgeai.dicom.pixels import DecodeOptions, read_frames

MIB = 1024 * 1024
HEADER = HeaderLimits(max_header_bytes=4 * MIB, max_elements=20_000)
PIXELS = PixelLimits(max_frames=200, max_frame_bytes=16 * MIB, max_total_bytes=64 * MIB)
FAST = DecodeOptions(fast=frozenset({"luma", "reduced"}), min_rows=16, min_columns=16)


def read_all(path: Path) -> str:
    """Read a file by the exact path and by the shortcuts; the code of the refusal, or ``ok``."""
    try:
        header = read_header(path, limits=HEADER)
        for options in (DecodeOptions(), FAST):
            for frame in read_frames(path, options, header=header, limits=PIXELS):
                assert frame.pixels.shape[:2] == (frame.rows, frame.columns)
                assert frame.pixels.nbytes <= 8 * PIXELS.max_frame_bytes
    except EdgeaiError as error:
        return error.code
    return "ok"


def _one_input(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        read_all(Path(file.name))


if __name__ == "__main__":
    import atheris  # pip install atheris; not needed by the suite

    atheris.instrument_all()
    atheris.Setup(sys.argv, _one_input)
    atheris.Fuzz()
