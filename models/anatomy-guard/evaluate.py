"""Judge the anatomy guard: ``python models/anatomy-guard/evaluate.py --data DIR`` prints the table of REPORT.md.

The packed bundle is asked, on each engine, about what ``train.py`` held out of the kit's training tables; with
``--test`` about the kit's validation tables, of which nothing was chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "modality-guard"))  # its drawings and pictures

import numpy as np
from anatomy import images, looks, wrong
from anatomy.kit import Grey, kit

from edgeai.api import Result
from edgeai.model import Model, open_model
from edgeai_workbench.card import read_card
from edgeai_workbench.pictures import frame_of

HERE = Path(__file__).resolve().parent
ADMITS = {"xray-view": (("chest", "child-chest"), 0.4), "xray-pneumonia": (("child-chest",), 0.3)}
"""Model -> the labels that its card lets through, and with which score at least."""
DRAWN, PIECES, MOST = 20, 300, 300


def kinds(data: Path, test: bool) -> Iterator[tuple[str, Sequence[Grey]]]:
    """Name -> images."""
    have = {}
    for name, folder in (("adults' chests", "xray_view"), ("children's chests", "xray_pneumonia28")):
        have[name] = of(data, folder, test)
    for change, apply in images.CHANGES.items():
        for name, pictures in have.items():
            yield f"{name}, {change}", [np.ascontiguousarray(apply(picture)) for picture in pictures]
    for name, folder in (("fetal heads", "us_head"), ("breasts, ultrasound", "us_breast")):
        yield name, of(data, folder, test)
    random = np.random.default_rng(3)
    pictures = images.unlearnt_pictures()
    pieces = [looks.piece(random, pictures[int(random.integers(len(pictures)))], 0.3) for _ in range(PIECES)]
    yield "pieces of 7 pictures", [np.ascontiguousarray(piece) for piece in pieces]
    for kind, (_, draw) in wrong.DRAWN.items():
        yield f"drawn: {kind}", [wrong.stored(draw(random)) for _ in range(DRAWN)]


def of(data: Path, folder: str, test: bool) -> list[Grey]:
    """Images of a folder of the kit that nothing was learnt from."""
    return (kit(data, folder, "val").everything if test else kit(data, folder).held)[:MOST]


def lets_through(result: Result, model: str) -> bool:
    """Whether one of the labels that a model's card admits has the score that it asks for; withheld is not."""
    labels, least = ADMITS[model]
    return any(each.label in labels and (each.probability or 0.0) >= least for each in result.findings)


def ask(model: Model, image: Grey) -> Result:
    """What the guard says of an image."""
    frame = frame_of(image, name="image", modality="DX")
    return model.run([frame], frame.instance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data kit's folder")
    parser.add_argument("--test", action="store_true", help="the kit's validation tables")
    parser.add_argument("--backends", nargs="*", default=["tflite", "openvino"])
    wanted = parser.parse_args()
    card = read_card(HERE)
    shown = list(kinds(wanted.data, wanted.test))
    for backend in wanted.backends:
        print(f"\n{backend}\n\n| images | n | withheld before {' | before '.join(ADMITS)} |")
        print(f"|---|---|{'---|' * len(ADMITS)}")
        with open_model(HERE / f"{card.name}-{card.version}.edgeai", backends=[backend], threads=1) as model:
            for name, pictures in shown:
                results = [ask(model, picture) for picture in pictures]
                shares = (sum(not lets_through(result, each) for result in results) / len(results) for each in ADMITS)
                print(f"| {name} | {len(results)} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
