"""``edgeai pack CARD_FOLDER``: the card, its artifacts and golden cases, as one bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgeai.api.errors import EdgeaiError


def pack(
    card_folder: Annotated[Path, typer.Argument(help="folder with a model.toml")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the bundle")] = Path("dist"),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="convert every artifact anew")] = False,
) -> None:
    """Make what the card asks for, hold it against the Keras parent, and pack it into OUT/NAME-VERSION.edgeai."""
    from edgeai.build.pack import pack_card  # the build host's alone: no other command pays for it

    console, errors = Console(), Console(stderr=True)
    try:
        with errors.status("packing") as status:
            packed = pack_card(card_folder, out=out, rebuild=rebuild, progress=status.update)
    except EdgeaiError as error:
        errors.print(f"[bold red]{error.code}[/]", highlight=False)
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        if error.remedy:
            errors.print(error.remedy, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    table = Table("artifact", "", "on", "furthest from parent", "of what is allowed", "golden cases")
    for one in packed.agreements:
        state = "made" if one.artifact in packed.made else "kept"
        on = f"{one.backend} {one.device}"
        table.add_row(one.artifact, state, on, f"{one.worst:.2e}", f"{one.share:.1%}", str(one.cases))
    console.print(table)
    console.print(f"{packed.bundle}  {packed.bundle.stat().st_size} bytes", highlight=False, soft_wrap=True)
    console.print(packed.digest, highlight=False, soft_wrap=True)
