"""``edgeai config``: check a profile, show what it amounts to, print its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Check a profile, show what it amounts to, print its JSON Schema.")

Profile = Annotated[Path, typer.Argument(help="a TOML file as in firmware-configs/profiles/", show_default=False)]


@app.command()
def check(profile: Profile) -> None:
    """Say every mistake of a profile at once, each with its line and the nearest right key.

    Exit status 0 when there is none, 2 otherwise. Nothing is started, and nothing outside the file is looked at but
    the trust folder (whether it holds keys, and what trust.toml says): `edgeai doctor` looks at engines, files, ports
    and the broker.
    """
    from edgeai.api.errors import ConfigError
    from edgeai.bundle.keys import bounds_of, key_files
    from edgeai.config import load_config

    config = load_config(profile)
    names = ", ".join(deployment.name for deployment in config.deployments) or "no deployment"
    typer.echo(f"{profile}: no mistakes ({config.device.site}/{config.device.id}: {names})")
    if config.trust.unsigned == "refuse" and not key_files(config.trust.keys):
        state = "holds no key" if config.trust.keys.exists() else "is missing"
        typer.echo(f"note: {config.trust.keys} {state} on this machine: no bundle would run (trust.keys)", err=True)
    try:
        bounds_of(config.trust.keys)
    except ConfigError as error:
        typer.echo(f"note: no bundle would run on this machine (trust.keys): {error}", err=True)


@app.command()
def show(profile: Profile) -> None:
    """Print what a profile amounts to, defaults and resolved paths included, as JSON. Holds no secret."""
    from edgeai.config import load_config

    typer.echo(json.dumps(load_config(profile).model_dump(mode="json", by_alias=True), indent=2))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors that complete and check TOML."""
    from edgeai.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def reference() -> None:
    """Print every key with its type, default and meaning, as Markdown."""
    from edgeai.config_reference import reference as table

    typer.echo(table(), nl=False)
