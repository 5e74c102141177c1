"""Real pictures: the data kit's radiographs and ultrasound, and what ships inside Python wheels.

Each source names where it comes from, so that a whole source can be held out. None of the files that the demo sends
is among them, and ``refuse_demo_files`` proves it by the digest of the pixels.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
SCIKIT_IMAGE = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "chessboard_RGB.png", "clock_motion.png",
    "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png",
    "logo.png", "microaneurysms.png", "moon.png", "motorcycle_left.png", "page.png", "phantom.png", "retina.jpg",
    "rocket.jpg", "text.png",
)  # fmt: skip


def _grey(path: Path) -> Grey:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"no picture at {path}")
    return np.asarray(image, np.uint8)


def kit_images(data: Path, folder: str, split: str) -> list[Grey]:
    """The pictures that ``labels_<split>.csv`` of one of the kit's folders names."""
    rows = (data / folder / f"labels_{split}.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [_grey(data / folder / row.split(",", 1)[0]) for row in rows if row]


def kit_pneumonia(data: Path, split: str) -> list[Grey]:
    """28x28 chest radiographs."""
    return list(np.load(data / "xray_pneumonia28" / "data.npz")[f"{split}_images"])


def kit_cine(data: Path, split: str) -> list[Grey]:
    """First, middle and last frame of each 16x48x48 clip."""
    clips = np.load(data / "cine_motion" / f"clips_{split}.npz")["clips"]
    return [np.asarray(clip[number], np.uint8) for clip in clips for number in (0, 8, 15)]


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"{name} is needed for its pictures; pip install -r models/modality-guard/requirements.txt"
        )
    return Path(found.submodule_search_locations[0])


def wheel_pictures() -> dict[str, list[Grey]]:
    """Package -> pictures, of scikit-image, scikit-learn and matplotlib; two of the last are maps of heights."""
    images, samples = _package("sklearn") / "datasets" / "images", _package("matplotlib") / "mpl-data" / "sample_data"
    photographs = ("grace_hopper.jpg", "logo2.png", "Minduka_Present_Blue_Pack.png")
    heights = (("topobathy.npz", "topo"), ("jacksboro_fault_dem.npz", "elevation"))
    return {
        "scikit-image": [_grey(_package("skimage") / "data" / name) for name in SCIKIT_IMAGE],
        "scikit-learn": [_grey(images / name) for name in ("china.jpg", "flower.jpg")],
        "matplotlib": [_grey(samples / name) for name in photographs]
        + [_stretched(np.load(samples / name)[key]) for name, key in heights],
    }


def _stretched(plane: npt.NDArray[np.generic]) -> Grey:
    values = plane.astype(np.float64)
    return np.asarray((values - values.min()) / np.ptp(values) * 255).round().astype(np.uint8)


def wheel_mr() -> Grey:
    """The one real MR slice that is not a demo file: matplotlib's s1045.ima, 256x256 of 16 bit."""
    raw = gzip.decompress((_package("matplotlib") / "mpl-data" / "sample_data" / "s1045.ima.gz").read_bytes())
    plane = np.frombuffer(raw, "<u2").reshape(256, 256).astype(np.float32)
    return (plane / plane.max() * 255).round().astype(np.uint8)


def digest(images: Iterable[Grey]) -> str:
    """``sha256:`` of all pixels and shapes, in order."""
    total = hashlib.sha256()
    for image in images:
        total.update(str(image.shape).encode())
        total.update(np.ascontiguousarray(image).tobytes())
    return f"sha256:{total.hexdigest()}"


@lru_cache(1)
def demo_thumbnails() -> dict[str, Grey]:
    """Name -> 16x16 thumbnail of every plane that decodes in pydicom's own wheel."""
    import pydicom
    import pydicom.data

    found = {}
    root = Path(pydicom.data.__file__).parent / "test_files"
    for path in sorted(root.rglob("*.dcm")):
        try:
            pixels = pydicom.dcmread(path).pixel_array
        except Exception:  # noqa: BLE001  the wheel holds broken files on purpose
            continue
        if pixels.ndim < 2 or min(pixels.shape[:2]) < 2:
            continue
        plane = pixels[0] if pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] > 4) else pixels
        found[path.name] = thumbnail(plane)
    return found


def thumbnail(plane: npt.NDArray[np.generic]) -> Grey:
    """16x16, stretched to 0 to 255."""
    grey = plane.astype(np.float32)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
    return (255 * (small - small.min()) / max(float(np.ptp(small)), 1e-6)).astype(np.uint8)


def refuse_demo_files(images: Iterable[Grey], closer_than: float = 10.0) -> None:
    """Hold every picture against the demo's files.

    Raises:
        ValueError: a picture whose thumbnail is under ``closer_than`` grey levels from a demo file's, on average.
    """
    names, demo = zip(*demo_thumbnails().items(), strict=True)
    known = np.stack(demo).astype(np.float32)
    for number, image in enumerate(images):
        away = np.abs(known - thumbnail(image)).mean(axis=(1, 2))
        if away.min() < closer_than:
            raise ValueError(f"picture {number} is the demo's own {names[int(away.argmin())]}")
