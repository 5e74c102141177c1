"""``edgeai pack CARD_FOLDER``: the card, its artifacts and golden cases, as one bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeai.build.agreement import Agreement

COLUMNS = ("artifact", "", "measured on", "furthest from parent", "of what is allowed")


def command(
    card_folder: Annotated[Path, typer.Argument(help="A folder with a model.toml.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; made if it is not there.")] = Path(
        "dist"
    ),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Convert every artifact anew.")] = False,
) -> None:
    """Make what a card asks for, hold it against the Keras parent, and pack it into OUT/NAME-VERSION.edgeai.

    Artifacts that are there and come from this .keras file by this recipe are kept. Each is run on the golden cases on
    this machine; one that is further from the parent than the card allows, or a gate that fails, ends without a bundle.

    Exit status: 0 with a bundle; 2 when the card's folder cannot be used as it stands or a gate fails; 1 otherwise.
    """
    from edgeai.build.pack import pack_card

    with _progress() as progress:
        packed = pack_card(card_folder, out=out, rebuild=rebuild, progress=progress)
    rows = [COLUMNS, *(_row(one, made=one.artifact in packed.made) for one in packed.agreements)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(f"{packed.bundle}: {packed.bundle.stat().st_size} bytes, {packed.digest}")


def _row(agreement: Agreement, *, made: bool) -> tuple[str, ...]:
    return (
        agreement.artifact,
        "made" if made else "kept",
        f"{agreement.backend} {agreement.device}, {agreement.cases} golden cases",
        f"{agreement.worst:.2e}",
        f"{agreement.share:.1%}",
    )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on a terminal's stderr that says what is being done; nothing in a pipe."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None
        return
    with console.status("reading the card") as status:
        yield status.update
