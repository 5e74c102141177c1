"""What the demo sends, and with which model."""

from __future__ import annotations

from pathlib import Path

from edgeai.api.errors import ConfigError

BUNDLE = Path("models/modality-guard/modality-guard-1.0.1.edgeai")

ULTRASOUND = ("examples_jpeg2k.dcm", "examples_ybr_color.dcm", "examples_palette.dcm", "examples_rgb_color.dcm")
OTHERS = ("J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm", "MR_small.dcm")
AGAIN = ("examples_overlay.dcm",)
"""Sent a second time: taken, and not run twice."""
UNCOMPRESSED = "examples_rgb_color.dcm"
"""Whose header the image has that shows nothing."""


def demo_files() -> list[Path]:
    """Paths of the files inside pydicom's own wheel, in the order in which they are sent.

    Raises:
        ConfigError: ``demo.files`` when this pydicom lacks one.
    """
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    paths = [folder / name for name in (*ULTRASOUND, *OTHERS, *AGAIN)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(
            f"this pydicom does not ship {', '.join(missing)}",
            code="demo.files",
            remedy="install the pinned pydicom (.ci/constraints.txt), or give files of your own with --file",
        )
    return paths


def another(path: Path, to: Path) -> Path:
    """The same picture as another instance, of a study of its own, written to ``to``."""
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    dataset = dcmread(path)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(to)
    return to


def no_probe(folder: Path) -> Path:
    """An ultrasound image as of a probe that is not plugged in, all black, written to ``folder``."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    path = another(Path(str(get_testdata_file(UNCOMPRESSED, download=False))), folder / "no-probe.dcm")
    dataset = dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path)
    return path


def find_bundle(given: Path | None) -> Path:
    """The model to run: the one given, or this checkout's modality-guard.

    Raises:
        ConfigError: ``demo.bundle`` when there is none.
    """
    here = Path(__file__).resolve().parents[2]
    for candidate in (given,) if given else (Path.cwd() / BUNDLE, here / BUNDLE):
        if candidate.is_file():
            return candidate.resolve()
    raise ConfigError(
        f"no bundle at {given or BUNDLE}",
        code="demo.bundle",
        remedy="run the demo in a checkout of edgeai, or name one with --bundle",
    )
