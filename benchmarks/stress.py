"""``python -m benchmarks.stress BUNDLE --own FOLDER``: how much of what is wrong a model's guard withholds.

The stress set is made anew each time, of drawings and of the data kit (``--data``): what shows nothing; the other
folders' images under a header that the model takes; and its own (``--own``) as they are, inverted, upside down and too
bright. Of the last three it counts as well where the model still states what it states of the image as it is.
Images come from the tables that models learn from: no test is opened.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeai.api import Array, Frame, Geometry, InstanceRef, Outcome, Result
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.bundle.uses import GuardUse
from edgeai.model import Model, open_model
from edgeai.testing.wrong_images import WRONG

FOLDERS = ("us_head", "us_breast", "xray_view", "xray_pneumonia28")
SIZES = ((270, 400), (256, 256), (900, 700))
TOO_BRIGHT = 4


def kit(folder: Path, most: int) -> Iterator[Array]:
    """Up to so many images of a folder of the kit, evenly spread."""
    rows = list(csv.DictReader((folder / "labels_train.csv").open()))
    rows = rows[:: max(1, len(rows) // most)][:most]
    archive = np.load(folder / "data.npz")["train_images"] if (folder / "data.npz").is_file() else None
    for row in rows:
        if archive is not None:
            yield np.squeeze(archive[int(row["index"])])
        else:
            yield np.asarray(Image.open(folder / row["file"]).convert("L"))


def drawn(draw: str, most: int) -> Iterator[Array]:
    """So many of a kind, in each size in turn."""
    random = np.random.default_rng(79)
    for number in range(most):
        yield WRONG[draw](random, *SIZES[number % len(SIZES)])


def ask(model: Model, pixels: Array) -> Result:
    """What the model says of pixels under a header that it takes."""
    eligible = model.bundle.manifest.eligibility
    rows, columns = pixels.shape
    instance = InstanceRef(
        sop_class_uid=next(iter(eligible.sop_class_uid), "1.2"),
        sop_instance_uid="2.25.1",
        modality=next(iter(eligible.modality), "OT"),
        rows=rows,
        columns=columns,
        photometric_interpretation="MONOCHROME2",
        bits_stored=8,
    )
    pixels = np.ascontiguousarray(pixels)
    geometry = Geometry(source_rows=rows, source_columns=columns)
    return model.run([Frame(pixels=pixels, number=1, geometry=geometry, instance=instance)], instance)


def stated(result: Result) -> frozenset[tuple[str, bool]]:
    """What a result states, without numbers; of one without findings nothing."""
    return frozenset((finding.label, finding.present) for finding in result.findings)


def withheld(results: list[Result]) -> str:
    """How many, and mostly why."""
    codes = [result.reason.code for result in results if result.outcome is not Outcome.COMPLETED and result.reason]
    most = max(codes, key=codes.count, default="")
    return f"{len(codes)} of {len(results)}{f', mostly {most}' if most else ''}"


def stress(model: Model, data: Path, own: str, most: int) -> Table:
    """The whole set, a row a kind."""
    table = Table(title=f"{model.bundle.manifest.name}: withheld")
    for column in ("kind", "withheld", "or still as it was"):
        table.add_column(column)
    for kind in WRONG:
        table.add_row(kind, withheld([ask(model, image) for image in drawn(kind, most)]))
    for folder in FOLDERS:
        if folder != own:
            table.add_row(
                f"{folder} under its header", withheld([ask(model, image) for image in kit(data / folder, most)])
            )
    images = list(kit(data / own, most))
    plain = [ask(model, image) for image in images]
    table.add_row(f"{own}, proper", withheld(plain))
    changes: dict[str, Callable[[Array], Array]] = {
        "inverted": lambda image: 255 - image,
        "upside down": lambda image: image[::-1],
        f"{TOO_BRIGHT} times as bright": lambda image: np.clip(image.astype(int) * TOO_BRIGHT, 0, 255).astype(np.uint8),
    }
    for kind, change in changes.items():
        results = [ask(model, change(image)) for image in images]
        good = [
            r.outcome is not Outcome.COMPLETED or stated(r) == stated(p) for r, p in zip(results, plain, strict=True)
        ]
        table.add_row(f"{own}, {kind}", withheld(results), f"{sum(good)} of {len(good)}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stress", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the model")
    parser.add_argument("--own", choices=FOLDERS, required=True, help="the kit's folder whose images are proper")
    parser.add_argument("--data", type=Path, default=os.environ.get("EDGEAI_DATA", "."), help="the data kit")
    parser.add_argument("--most", type=int, default=60, help="images of a kind")
    parser.add_argument("--look", action="store_true", help="as if it were packed now: with the look at the content")
    options = parser.parse_args()
    bundle: Bundle = open_bundle(options.bundle)
    if options.look:
        bundle = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, schema=2, guard=GuardUse()))
    with open_model(bundle, threads=1) as model:
        Console().print(stress(model, options.data, options.own, options.most))


if __name__ == "__main__":
    main()
