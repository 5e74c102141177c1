"""``edgeai config``: check a profile, show what it amounts to, print its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.config.words import Where

app = typer.Typer(no_args_is_help=True, help="Check a profile, show what it amounts to, print its JSON Schema.")

_LIMIT_S = 60.0
"""For a plugin to load, where sinks are to be held to theirs."""

Profile = Annotated[Path, typer.Argument(help="a TOML file as in firmware-configs/profiles/", show_default=False)]


@app.command()
def check(profile: Profile) -> None:
    """Say every mistake of a profile at once, each with its line and what to write instead.

    Exit status 0 when there is none, 2 otherwise. Nothing is started and no file is opened but the trust folder's and
    the slots' state: files are only looked for. What may be right on another machine is a note. Settings of plugins'
    sinks are held to what the plugins take, which are asked in a process of their own. `edgeai doctor` opens it all.
    """
    from edgeai.api.errors import ConfigError
    from edgeai.config import InstalledBackends, doubts, read_profile
    from edgeai.plugins import conflicts, find
    from edgeai.resolving import words_for_backends

    read = read_profile(profile)
    wrong = [where for where, _ in read.mistakes]
    infos = find()
    allowed = [info for info in infos if info.name in read.config.plugins.allow]
    twice = conflicts("backend", ((name, info) for info in allowed for name in info.backends)).values()
    plugins, also = words_for_backends(infos)
    here = InstalledBackends(plugins=plugins, also=also, twice=tuple(f"{error}: {error.remedy}" for error in twice))
    stands, gone = _standing(read.config)
    wrong += [where for where, _ in gone]
    remarks = [item for item in doubts(stands, here) if not any(item.where[: len(bad)] == bad for bad in wrong)]
    if not read.mistakes:
        from edgeai.doctor.profile import sink_remarks

        remarks += sink_remarks(read.config, _LIMIT_S)
    mistakes = [*read.mistakes, *gone, *((item.where, item.what) for item in remarks if item.weight == "mistake")]
    notes = [(item.where, item.what) for item in remarks if item.weight == "note"]
    for line in (*read.told(notes), *_trust_notes(read.config)):
        typer.echo(f"note: {line}", err=True)
    if mistakes:
        raise ConfigError("\n".join(read.told(mistakes)), remedy="see firmware-configs/README.md")
    config = read.config
    names = ", ".join(deployment.name for deployment in config.deployments) or "no deployment"
    typer.echo(f"{profile}: no mistakes ({config.device.site}/{config.device.id}: {names})")


def _standing(config: DeviceConfig) -> tuple[DeviceConfig, list[tuple[Where, str]]]:
    """The profile with the bundles that stand, as a path is not looked at again once it was adopted; and what does not.

    Only a slot's folder is looked for here: `edgeai doctor` opens what lies in it.
    """
    if not any(item.updates for item in config.deployments):
        return config, []
    from edgeai.slots import SlotsError, standing

    deployments: list[Deployment] = []
    gone: list[tuple[Where, str]] = []
    for index, item in enumerate(config.deployments):
        try:
            stands = standing(config, item)
        except SlotsError as error:
            stands = item
            gone.append((("deployments", index, "bundle"), f"{error}; {error.remedy}"))
        if stands is not item and not (stands.bundle / "manifest.json").is_file():
            what = f"what runs of {item.name} stands in its slot, and {stands.bundle} holds no bundle"
            cure = (
                f"put it back from a backup; or remove {stands.bundle.parent}, and the bundle of the profile runs again"
            )
            gone.append((("deployments", index, "bundle"), f"{what}: {cure}"))
        deployments.append(stands)
    return config.model_copy(update={"deployments": tuple(deployments)}), gone


def _trust_notes(config: DeviceConfig) -> Iterator[str]:
    """Whether a signed bundle would run here, as far as the trust folder decides it."""
    from edgeai.api.errors import ConfigError
    from edgeai.bundle.keys import bounds_of, key_files
    from edgeai.counted import counted

    keys, place = config.trust.keys, "on this machine: no bundle would run (trust.keys)"
    if config.trust.unsigned == "refuse":
        held = len(key_files(keys))
        if not held:
            yield f"{keys} {'holds no key' if keys.exists() else 'is missing'} {place}"
        elif held < config.trust.threshold:
            yield f"{keys} holds {counted(held, 'key')}, trust.threshold is {config.trust.threshold} {place}"
    try:
        bounds_of(keys)
    except ConfigError as error:
        yield f"no bundle would run on this machine (trust.keys): {error}"


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
