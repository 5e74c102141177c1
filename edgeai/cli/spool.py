"""``edgeai spool``: the device's durable store, between versions of edgeai."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The device's durable store.")


@app.callback()
def spool() -> None:
    """The device's durable store. It moves forward by itself when a newer edgeai opens it."""


@app.command()
def downgrade(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
) -> None:
    """Take the spool back to what edgeai 0.1 reads, so that the older version can be installed again.

    Stop the device first. It is refused while the spool holds what 0.1 cannot: held jobs, messages set aside, two
    contents under one UID that both wait, jobs that wait for what another deployment says. Let those end first.
    Nothing is lost either way; the older version only forgets which content an instance had, and attempts. Every row
    is written anew: that takes about twice the room of the database, for a moment.
    """
    from edgeai.api.errors import SpoolError
    from edgeai.cli.device import existing_spool
    from edgeai.config import load_config
    from edgeai.spool import is_held
    from edgeai.spool.planes import remove_tree
    from edgeai.spool.room import rewriting

    config = load_config(profile)
    with rewriting(config.device.data_dir / "spool" / "spool.sqlite"):  # a full disk keeps it even from being opened
        store = existing_spool(config)
    with closing(store):
        running = sorted(note.stem for note in store.roles.glob("*.note") if is_held(note))
        if running:
            raise SpoolError(
                f"the device runs: {', '.join(running)}",
                code="spool.in-use",
                remedy="stop it first, then call this again",
            )
        store.db.take_back(requiring=[each.name for each in config.deployments if each.requirements])
        remove_tree(store.planes)  # edgeai 0.1 knows nothing of it, and pixels lie there
    typer.echo("the spool has the schema of edgeai 0.1 again; do not start this version, or it moves forward")
