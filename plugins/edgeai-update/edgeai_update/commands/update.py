"""``edgeai update``: what a repository offers to this device, fetched and installed beside what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig
    from edgeai_update.outcomes import Look, Tell
    from edgeai_update.sources import Source


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    once: Annotated[
        bool, typer.Option("--once", help="Fetch and install what is offered; without, it is only said.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A folder that holds the repository, such as a stick; repository.url without.",
            metavar="FOLDER",
        ),
    ] = None,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Look at the repository of models for what it offers to this device; with --once fetch and install it.

    A cart takes what the repository's keys and its own trusted keys both signed, and only the artifacts that its
    engines open. What is installed lies beside what runs, and changes nothing yet: it is rehearsed and switched to
    by `edgeai run`. Killed at any moment, or cut off, it can be called again and goes on where it was.

    Call it as the service's user, as its files belong to that.

    Exit status: 0 when nothing was refused; 1 when something was, or the repository cannot be read; 2 when the profile
    cannot be used.
    """
    from edgeai.cli.progress import progress_line
    from edgeai.config import load_config

    config = load_config(profile)
    with progress_line() as tell:
        look = _looked(config, source, tell, install=once)
    if as_json:
        output.put(json.dumps(look.told(), indent=2))
    _print(look, on_stdout=not as_json)
    if not look.is_well:
        raise typer.Exit(1)


def _looked(config: DeviceConfig, source: Path | None, tell: Tell, *, install: bool) -> Look:
    from edgeai.api.errors import ConfigError
    from edgeai_update.errors import UpdateError
    from edgeai_update.outcomes import Look
    from edgeai_update.profiles import root_of, source_of
    from edgeai_update.updating import Updating, taking

    if not taking(config):
        raise ConfigError(
            "no deployment of this profile takes updates",
            code="update.not-configured",
            remedy="write updates = true under the [[deployments]] that are to take them",
        )
    root = root_of(config)
    taken: Source | None = None
    try:
        taken = source_of(config, source)
        return Updating(config, taken, root, tell=tell).look(install=install)
    except UpdateError as error:
        return Look(refused=error)
    finally:
        if taken is not None:
            taken.close()


def _print(look: Look, *, on_stdout: bool) -> None:
    if look.refused is not None:
        typer.echo(f"error[{look.refused.code}]: {look.refused}", err=True)
        if look.refused.remedy:
            typer.echo(f"  what to do: {look.refused.remedy}", err=True)
    for each in look.outcomes:
        is_refused = each.outcome == "refused"
        if is_refused or on_stdout:
            typer.echo(f"error[{each.code}]: {each}" if is_refused else str(each), err=is_refused)
        if is_refused and each.remedy:
            typer.echo(f"  what to do: {each.remedy}", err=True)
