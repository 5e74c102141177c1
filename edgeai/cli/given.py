"""What a command was given: what is missing or damaged on disk is said before an option that is missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import typer

from edgeai.api.errors import ConfigError, PluginConflict, PluginError

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


def meant_backends(words: Iterable[str]) -> list[tuple[str, str]]:
    """(backend, plugin that provides it) of each word, before minutes of work for one that nobody provides.

    Raises:
        ConfigError: ``config.backend-missing``: no installed plugin has it, or the one that should does not load.
        PluginConflict: several installed plugins have it.
    """
    return [_meant("backend", word, "config.backend-missing") for word in words if word]


def _meant(kind: str, word: str, code: str) -> tuple[str, str]:
    from edgeai.resolving import Installed

    try:
        spec, info = Installed().resolve(kind, word)
    except PluginConflict:
        raise
    except PluginError as error:
        raise ConfigError(str(error), code=code, remedy=error.remedy) from error
    return spec.name, info.name


__all__ = ["check_bundle", "given", "meant_backends", "refuse_unused"]
