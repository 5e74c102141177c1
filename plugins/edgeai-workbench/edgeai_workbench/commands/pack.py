"""``edgeai pack CARD_FOLDER|MODEL``: the card, its artifacts and golden cases, as one bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli.given import refuse_unused
from edgeai.cli.progress import progress_line

if TYPE_CHECKING:
    from edgeai_workbench.deviation import Deviation

COLUMNS = ("artifact", "", "measured on", "furthest from parent", "of what is allowed")


Target = Annotated[
    Path,
    typer.Argument(
        help="A folder with a model.toml; or a model that someone else made, of a format that an engine here opens.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; made if it is not there.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Convert every artifact anew.")]
Name = Annotated[str, typer.Option("--name", help="Foreign: the bundle's name; the file's without.")]
Task = Annotated[
    str, typer.Option("--task", help="Foreign: the task that reads its output. Default: the one that can.")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="Foreign: its labels, one a line, in the order of its outputs.")
]
Images = Annotated[
    Path | None, typer.Option("--images", help="Foreign: pictures and DICOM files; some become golden cases.")
]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", help="Foreign: an .npz of golden inputs; the first axis counts cases.")
]
Values = Annotated[
    tuple[float, float] | None,
    typer.Option("--values", help="Foreign: what black and white are to its input, as real numbers: -1 1."),
]
Size = Annotated[
    tuple[int, int] | None,
    typer.Option("--size", help="Foreign: rows and columns, of a model that takes any: 224 224."),
]
Mode = Annotated[str, typer.Option("--mode", help="Foreign: how labels go together, in the words of its task.")]


def command(
    ctx: typer.Context,
    target: Target,
    out: Out = Path("dist"),
    rebuild: Rebuild = False,
    name: Name = "",
    task: Task = "",
    labels: Labels = None,
    images: Images = None,
    inputs: Inputs = None,
    values: Values = None,
    size: Size = None,
    mode: Mode = "",
) -> None:
    """Make what a card asks for, hold it against the Keras parent, and pack it into OUT/NAME-VERSION.edgeai.

    Artifacts that are there and come from this .keras file by this recipe are kept. Each is run on the golden cases on
    this machine; one that is further from the parent than the card allows, or a gate that fails, ends without a bundle.
    Where the card has another version than what was built, report and evidence are told under it.

    With a model that someone else made: writes OUT/NAME/ with a card, a copy of the model and golden cases that it
    answers itself, and packs that. Nothing is converted. Correct the card, and pack the folder again. Such a model is
    loaded in a process of its own, without network, home and write access where this machine allows it; how is said.

    Exit status: 0 with a bundle; 2 when the target cannot be used as it stands; 3 when a gate fails; 1 otherwise.

    For example:

      edgeai pack models/modality-guard

      edgeai pack theirs.tflite --labels labels.txt --images ~/pictures --values -1 1
    """
    from edgeai_workbench.pack import pack_card
    from edgeai_workbench.retelling import retell

    known: dict[str, Any] = {"name": name, "task": task, "labels": labels, "images": images, "inputs": inputs}
    known |= {"values": values, "mode": mode, "size": size}
    if _is_card(target):
        refuse_unused(ctx, known, "it is for a model that someone else made; the card says it")
    with progress_line() as progress:
        folder, notes = (target, (retell(target),)) if _is_card(target) else _foreign(target, out, known, progress)
        for note in filter(None, notes):
            typer.echo(note, err=True)
        packed = pack_card(folder, out=out, rebuild=rebuild, progress=progress)
    rows = [COLUMNS, *(_row(one, made=one.artifact in packed.made) for one in packed.deviations)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for how in dict.fromkeys(one.apart for one in packed.deviations if one.apart):
        typer.echo(f"the model was {how}", err=True)
    for note in packed.notes:
        typer.echo(note, err=True)
    typer.echo(str(packed))
    if folder != target:
        typer.echo(f"card: {folder / 'model.toml'}: check its transforms, task and labels, then: edgeai pack {folder}")


def _is_card(target: Path) -> bool:
    """Whether the target is a card's folder, or one that should have been; all else is a foreign model."""
    from edgeai_workbench.as_is import is_folder_of_a_model

    return (target / "model.toml").exists() or (target.is_dir() and not is_folder_of_a_model(target))


def _foreign(
    target: Path, out: Path, known: Mapping[str, Any], progress: Callable[[str], None]
) -> tuple[Path, tuple[str, ...]]:
    from edgeai_workbench.foreign import foreign_card
    from edgeai_workbench.foreign_known import Foreign

    made = foreign_card(target, out=out, known=Foreign(**known), progress=progress)
    return made.folder, made.notes


def _row(deviation: Deviation, *, made: bool) -> tuple[str, ...]:
    return (
        deviation.artifact,
        "made" if made else "kept",
        f"{deviation.backend} {deviation.device}, {deviation.cases} golden cases",
        f"{deviation.worst:.2e}",
        # Where the card bounds nothing, its share of that is none, and not a good one.
        "no bound" if deviation.worst and not deviation.share else f"{deviation.share:.1%}",
    )
