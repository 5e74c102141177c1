"""Files that a card attaches: they ship as they are, and one of them a cart acts on."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeai.api.errors import ConfigError
from edgeai.bundle.probation import PROBATION_NAME, decode_bounds, invalid, mistakes
from edgeai_workbench.card import Card


def attach(source: Path, target: Path) -> None:
    """Copy one to where the bundle is put together.

    Raises:
        ConfigError: ``config.card-attachment-missing``.
    """
    if not source.is_file():
        raise ConfigError(f"{source}: the card attaches it, and it is not there", code="config.card-attachment-missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def hold_probation(card: Card, folder: Path) -> None:
    """The bounds of probation that the card attaches, where it does, say something that a cart can hold to.

    Raises:
        BundleRejected: ``bundle.invalid-probation``.
    """
    path = folder / PROBATION_NAME
    if PROBATION_NAME not in card.attachments or not path.is_file():
        return
    of = f"{card.name} {card.version}"
    if wrong := "; ".join(mistakes(decode_bounds(path.read_bytes(), of))):
        raise invalid(of, wrong)
