"""Judge the modality guard: ``python models/modality-guard/evaluate.py --data DIR`` prints the tables of REPORT.md.

Without ``--data`` only the files of pydicom's own wheel are judged, through the packed bundle, as the demo sends them.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
from guard import fastpaths

from edgeai.api import Outcome
from edgeai.model import open_model
from edgeai_workbench.card import read_card

HERE = Path(__file__).resolve().parent
LABELS = ("radiograph", "ultrasound", "other")
WANTED = {"CR": "radiograph", "DX": "radiograph", "US": "ultrasound"}
"""By Modality; every other, and none at all, is ``other``."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson, JASA 22, 1927)."""
    z, share = 1.959964, right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)


def row(name: str, label: str, right: int, count: int) -> str:
    low, high = wilson(right, count)
    return f"| {name} | {label} | {count} | {right / count:.1%} | {low:.1%} to {high:.1%} |"


def by_source(title: str, results: Iterable[tuple[str, str, npt.NDArray[np.floating]]]) -> None:
    """Print one line a source, then each label and their mean."""
    print(f"\n### {title}\n\n| source | label | n | right | 95 % |\n|---|---|---|---|---|")
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, label, logits in results:
        right = int((logits.argmax(axis=1) == LABELS.index(label)).sum())
        sums[label][0] += right
        sums[label][1] += len(logits)
        print(row(name, label, right, len(logits)))
    for label, (right, count) in sums.items():
        print(row("**all**", label, right, count))
    total = [sum(part) for part in zip(*sums.values(), strict=True)]
    print(row("**all**", "any", total[0], total[1]))
    print(f"\nMean of the labels' shares: **{np.mean([right / count for right, count in sums.values()]):.1%}**")


def held_out(data: Path) -> None:
    """Each source judged by the head without its origin, and the shipped network on the validation split."""
    import keras
    from guard import dataset, network

    prepare = dataset.Preparation(read_card(HERE))
    shipped = keras.models.load_model(HERE / "modality-guard.keras", compile=False)
    trunk = keras.Model(shipped.inputs[0], shipped.get_layer("pooled").output)
    heads = np.load(HERE / "folds" / "held-out.npz")
    everything = [dataset.sources(data, split) for split in ("train", "val")]
    # Phantoms and wheel pictures have no splits: they count once.
    unseen = [*everything[0], *(source for source in everything[1] if source.in_kit)]
    found: dict[tuple[str, str, bool], list[npt.NDArray[np.floating]]] = defaultdict(list)
    for source, images in dataset.evaluation_sets(unseen, prepare, seed=1000):
        logits = network.scores(heads[source.origin], network.features(trunk, images))
        found[source.name, source.label, bool(source.whole)].append(logits)
    for title, real in (("Origins held out of training: real images", True), ("Kinds of phantom held out", False)):
        rows = [(name, label, np.concatenate(z)) for (name, label, is_real), z in found.items() if is_real == real]
        by_source(title, rows)
        if real:
            print_temperature(rows)

    validation = dataset.evaluation_sets(everything[1], prepare, seed=2000)
    final = np.vstack([shipped.get_layer("logits").bias, shipped.get_layer("logits").kernel])
    results = (
        (s.name, s.label, network.scores(final, network.features(trunk, i))) for s, i in validation if not s.shared
    )
    by_source("The shipped network on the validation split (and on phantoms drawn afresh)", results)


def print_temperature(rows: Sequence[tuple[str, str, npt.NDArray[np.floating]]]) -> None:
    """Print the temperature that makes held-out probabilities honest: least log loss, sources weighing alike."""
    best = min(np.arange(0.1, 3.01, 0.05), key=lambda t: np.mean([_loss(z / t, label) for _, label, z in rows]))
    print(f"\nTemperature of least held-out log loss: {best:.2f}")


def _loss(logits: npt.NDArray[np.floating], label: str) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-logs[:, LABELS.index(label)].mean())


def wheel_files() -> list[Path]:
    """Every file of pydicom's own wheel."""
    import pydicom.data

    root = Path(pydicom.data.__file__).parent / "test_files"
    return sorted(path for path in root.rglob("*") if path.is_file())


def files(title: str, paths: Iterable[Path]) -> None:
    """Print what the bundle says of DICOM files, on each backend."""
    bundle = HERE / f"{read_card(HERE).name}-{read_card(HERE).version}.edgeai"
    print(f"\n### {title}\n\n| backend | Modality | completed | right | agreement as it should be | least sure |")
    print("|---|---|---|---|---|---|")
    for backend in ("tflite", "openvino"):
        counts: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 1.0])
        with open_model(bundle, backends=[backend], threads=1) as model:
            for path in paths:
                result = model.run_file(path)
                if result.outcome is not Outcome.COMPLETED:
                    continue
                modality = result.instance.modality
                wanted = WANTED.get(modality, "other")
                classes = {f.label: f for f in result.findings if f.kind == "class"}
                agrees = next(f.present for f in result.findings if f.kind == "agreement")
                count = counts[modality or "(none)"]
                count[0] += 1
                count[1] += classes[wanted].present
                count[2] += agrees is bool(modality)
                count[3] = min(count[3], classes[wanted].probability or 0.0)
                if not classes[wanted].present:
                    print(f"wrong: {path.name}", flush=True)
        for modality, (done, right, agreed, least) in sorted(counts.items()):
            print(f"| {backend} | {modality} | {done:.0f} | {right:.0f} | {agreed:.0f} | {least:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the data kit's folder")
    wanted = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    card = read_card(HERE)
    files("Files of pydicom's wheel, which the demo sends, through the bundle", wheel_files())
    paths = wheel_files()
    if wanted.data:
        held_out(wanted.data)
        wrapped = sorted((wanted.data / "dicom_wrapped").glob("*.dcm"))
        files("Real pixels in made-up headers (dicom_wrapped), and a lateral chest (highdicom)",
              [*wrapped, wanted.data / "dicom_real" / "highdicom" / "dx_image.dcm"])  # fmt: skip
        paths += wrapped
    print("\n### Fast paths against the exact path")
    fastpaths.compare(card, HERE / card.model, paths, wanted.data)


if __name__ == "__main__":
    main()
