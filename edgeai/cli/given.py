"""What a command was given: what is missing or damaged on disk is said before an option that is missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import typer

from edgeai.api.errors import ConfigError

_T = TypeVar("_T")


def given(value: _T | None, option: str, why: str) -> _T:
    """The value of an option that a command cannot do without. Look at what the other words name first.

    Raises:
        BadParameter: it was not given.
    """
    if not value:
        raise typer.BadParameter(f"it is missing: {why}", param_hint=option)
    return value


def refuse_unused(ctx: typer.Context, options: Iterable[str], why: str) -> None:
    """Refuse options that were written and would do nothing here: what they say would be taken for done.

    Args:
        ctx: of the command.
        options: names of its parameters.
        why: whose they are.

    Raises:
        BadParameter: one was written.
    """
    for name in options:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(why, param_hint=f"--{name}")


def check_bundle(path: Path, *, whole: bool) -> None:
    """Refuse a bundle that is missing or damaged.

    Args:
        path: a ``.edgeai`` file or an unpacked bundle.
        whole: every byte of it, where nobody will look at it after this.

    Raises:
        BundleRejected: ``bundle.missing`` where there is none, else what is wrong with it.
    """
    from edgeai.bundle.reader import read_manifest, verify_bundle

    if whole:
        verify_bundle(path)
    else:
        read_manifest(path)


def check_backends(named: Iterable[str], bundles: Iterable[Path] = ()) -> None:
    """Refuse a backend that nobody provides, before minutes of work for it.

    Args:
        named: backends; each is provided by the plugin of its name, or by one that a bundle names.
        bundles: which they are for.

    Raises:
        ConfigError: ``config.backend-missing``.
    """
    from edgeai.plugins import find
    from edgeai.selection import AUTO_ORDER

    wanted = [name for name in named if name]
    installed = {info.name for info in find()} if wanted else set()
    missing = [name for name in wanted if name not in installed]
    if missing:
        provided = {name for bundle in bundles for name in _provided(bundle)}
        missing = [name for name in missing if name not in provided]
    if missing:
        own = ", ".join(name for name in AUTO_ORDER if name in installed)
        raise ConfigError(
            f"no plugin named {missing[0]} is installed",
            code="config.backend-missing",
            remedy=f"edgeai's own that are installed: {own or 'none'}; another maker's goes by its plugin's name",
        )


def _provided(bundle: Path) -> Iterable[str]:
    from edgeai.bundle.reader import read_manifest
    from edgeai.plugins import Registry

    return Registry.of(read_manifest(bundle)[0].plugins).backends


__all__ = ["check_backends", "check_bundle", "given", "refuse_unused"]
