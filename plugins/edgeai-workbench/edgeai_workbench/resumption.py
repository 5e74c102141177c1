"""What an interrupted ``edgeai train`` left beside the card, and whether it may be gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

STATE: Final = "EDGEAI_TRAINING_STATE"
"""Environment variable: folder in which a script may keep its state from epoch to epoch."""
FOLDER: Final = ".training"
_FACTS: Final = "begun.json"


def begin_state(folder: Path, facts: Mapping[str, str], *, folds: int) -> tuple[Path, str]:
    """The folder of a training's state, empty unless it is of this very training; and a sentence on that.

    Args:
        folder: of the card.
        facts: all that decides the weights: what it is called -> its digest.
        folds: of a cross-validation, which keeps a state of its own.
    """
    state = folder / FOLDER / (f"folds-{folds}" if folds else "whole")
    try:
        before = json.loads((state / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    kept = isinstance(before, dict) and any(path.name != _FACTS for path in state.iterdir())
    if before == facts and kept:
        return state, "Goes on with the training that was interrupted: nothing that decides the weights has changed."
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    (state / _FACTS).write_text(json.dumps(dict(facts), indent=1), encoding="utf-8")
    if not kept:
        return state, ""
    others = [name for name, digest in facts.items() if before.get(name) != digest]
    changed = f"{' and '.join(others)} changed" if others else "what it is of cannot be told"
    return state, f"Begins anew: a training was interrupted, and {changed} since."
