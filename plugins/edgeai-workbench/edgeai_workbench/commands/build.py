"""``edgeai build CARD_FOLDER|MODEL.keras``: from a Keras model to a bundle that is smaller, faster and judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli.given import given, refuse_unused

if TYPE_CHECKING:
    from edgeai_workbench.building import Built
    from edgeai_workbench.comparison import Comparison, Row

FIRST = ("task", "labels", "calibration", "mode", "values", "size")
"""Options of a first try."""
COLUMNS = ("model", "engine", "size", "ms", "drop", "agreement", "gates")


Target = Annotated[Path, typer.Argument(help="A folder with a model.toml, or a .keras file.", show_default=False)]
Data = Annotated[
    Path | None, typer.Option("--data", help="Where the card's [dataset] finds its tables.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; made if it is not there.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Make every variant and artifact anew.")]
Task = Annotated[
    str, typer.Option("--task", help="With a .keras file: the task that reads its output. Default: the one that can.")
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="With a .keras file: its labels, one a line, in the order of its outputs."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="With a .keras file: images to quantise on; with one sub-folder a label, also to judge on.",
    ),
]
Mode = Annotated[
    str, typer.Option("--mode", help="With a .keras file: how labels go together, in the words of its task.")
]
Values = Annotated[
    tuple[float, float] | None,
    typer.Option("--values", help="With a .keras file: what black and white are to its input: -1 1."),
]
Robust = Annotated[
    bool, typer.Option("--robustness", help="Ask about odd images too, as a card with [robustness] always does.")
]
Size = Annotated[
    tuple[int, int] | None, typer.Option("--size", help="With a .keras file that takes any extent: rows and columns.")
]


def command(
    ctx: typer.Context,
    target: Target,
    data: Data = None,
    out: Out = Path("dist"),
    rebuild: Rebuild = False,
    task: Task = "",
    labels: Labels = None,
    calibration: Calibration = None,
    mode: Mode = "",
    values: Values = None,
    size: Size = None,
    robustness: Robust = False,
) -> None:
    """Make what a card asks for, compare it with its Keras parent, hold the gates, and pack OUT/NAME-VERSION.edgeai.

    With a card: variants (pruned, distilled, clustered), artifacts (fp32, fp16, dynamic, int8, for each engine), one
    table of size, time, metrics with 95 % intervals and agreement; REPORT.md and report.html beside the card. What is
    already there and still fits the card is kept.

    With a .keras file and no card: a card is written for a first try, in a folder below OUT, and built. What its first
    and last layers say is read from it (range, softmax or not); what they do not say is asked for or assumed aloud. An
    artifact that is constant, worse than the model or decides otherwise is left out of the bundle.

    Exit status: 0 with a bundle; 3 when a gate fails; 2 when card, data or command cannot be used; 1 otherwise.

    For example:

      edgeai build models/us-head --data ~/data

      edgeai build my.keras --labels labels.txt --calibration ~/pictures
    """
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.building import build_card
    from edgeai_workbench.first_card import first_card
    from edgeai_workbench.first_checks import Wish

    with progress_line() as progress:
        folder, root, first = target, data, _is_model(ctx, target)
        if first:
            wish = Wish(task=task, labels=labels, images=calibration, mode=mode, values=values, size=size)
            made = first_card(target, out=out, wish=wish, progress=progress)
            folder, root = made.folder, made.images
            for note in made.notes:
                typer.echo(note, err=True)
        built = build_card(
            folder,
            _given(root, folder),
            out=out,
            rebuild=rebuild,
            first=first,
            robustness=robustness,
            progress=progress,
            compared=_print,
        )
    _tell(built)


def _tell(built: Built) -> None:
    from edgeai_workbench.robustness.words import lines_of
    from edgeai_workbench.stress.words import lines_of as wrong_images

    for left in built.left_out:
        typer.echo(f"left out of the bundle: {left}", err=True)
    if built.robustness is not None:
        typer.echo("\n".join(lines_of(built.robustness)) + "\n")
    if built.stress is not None:
        typer.echo("\n".join(wrong_images(built.stress)) + "\n")
    typer.echo(str(built.packed))
    typer.echo(f"report: {built.report}")


def _is_model(ctx: typer.Context, target: Path) -> bool:
    """Whether the target is a Keras model without a card, and no option is written that is of the other kind alone.

    Raises:
        ConfigError: ``build.foreign-model``: it is neither, and cannot be compared with a Keras parent.
        BadParameter: such an option.
    """
    from edgeai_workbench.as_is import refuse_to_build

    if target.suffix == ".keras" and not target.is_dir():
        refuse_unused(ctx, ["data"], "it is of a card; for a .keras file --calibration says where the images are")
        return True
    refuse_to_build(target)
    refuse_unused(ctx, FIRST, "it is for a .keras file without a card; the card says it")
    return False


def _given(data: Path | None, folder: Path) -> Path:
    from edgeai_workbench.card import read_card

    if data is None:
        read_card(folder)  # one that is missing or wrong is said first
    return given(data, "--data", "a card is judged on its samples, so say where they are")


def _print(comparison: Comparison) -> None:
    """The table, as soon as it is known: also when a gate then fails."""
    from edgeai_workbench.report.words import kept_back

    main = comparison.main
    columns = (*COLUMNS[:4], *((f"{main}, {comparison.split}",) if main else ()), *COLUMNS[4:])
    rows = [columns, *(_cells(row, main) for row in comparison.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    samples = f"{comparison.samples} samples of {comparison.split}"
    what = f"figures and agreement on {samples}"
    if comparison.withheld:
        typer.echo(f"withheld before the model are {kept_back(comparison.withheld, samples)}")
    for one in comparison.rows:
        if one.ended:
            typer.echo(f"{one.id} makes no statement of {kept_back(one.ended, samples)}")
    if near := comparison.near:
        named = "; ".join(near[:3]) + (f"; and {len(near) - 3} more" if len(near) > 3 else "")
        count = f"{len(near)} of the {samples}"
        typer.echo(f"nearly images of train are {count}, and figures are better for it: {named}")
    typer.echo(f"{what}; sizes against the parent's .keras file, times against {comparison.reference}; * ships")


def _cells(row: Row, main: str) -> tuple[str, ...]:
    from edgeai_workbench.report.words import faster, smaller
    from edgeai_workbench.spread import in_words

    figure, drop = row.figures.get(main), row.drops.get(main)
    shown = (
        (("",) if main else ())
        if figure is None
        else (f"{figure.value:.4f} ({in_words(figure.low, figure.high, '{:.4f}'.format)})",)
    )
    fails = [verdict.gate for verdict in row.verdicts if not verdict.holds]
    return (
        row.id + (" *" if row.ship else ""),
        f"{row.backend} {row.device}",
        f"{row.bytes / 1e3:.1f} kB, {smaller(row.size_ratio)}",
        f"{row.ms:.3f}, {faster(row.speed_ratio)}",
        *shown,
        f"{drop.value:+.4f} ({in_words(drop.low, drop.high, '{:+.4f}'.format)})" if drop and row.id != "parent" else "",
        f"{row.agreement:.2%}",
        f"{'FAIL' if row.ship else 'would fail'} {', '.join(fails)}" if fails else ("hold" if row.verdicts else ""),
    )
