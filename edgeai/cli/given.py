"""What a command was given: what is missing or damaged on disk is said before an option that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import typer

_T = TypeVar("_T")


def given(value: _T | None, option: str, why: str) -> _T:
    """The value of an option that a command cannot do without. Look at what the other words name first.

    Raises:
        BadParameter: it was not given.
    """
    if not value:
        raise typer.BadParameter(f"it is missing: {why}", param_hint=option)
    return value


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


__all__ = ["check_bundle", "given"]
