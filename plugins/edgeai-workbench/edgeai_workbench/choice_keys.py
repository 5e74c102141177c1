"""``[choice]`` of a card: which options of the task are chosen, and on what."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from edgeai_workbench.tables import Table

FOLDS: Final = "folds"
VALIDATION: Final = "validation"


class Choice(Table):
    """``[choice]``: options of the task that `edgeai train` chooses, on samples that no weight was trained on."""

    on: Literal["folds", "validation"] = Field(
        "folds",
        description="`folds`: what models trained without them say of folds of train; or `validation`: what the "
        "variant that ships says of it",
    )
    folds: int = Field(5, ge=2, description="with folds: how many; no group is in two")
    options: dict[str, Any] = Field(
        min_length=1,
        description="what, as the task documents it: for classify `temperature = true`, "
        '`threshold = "sensitivity@specificity=0.9"`; for segment `threshold = "dice"` or `"circumference"`; '
        'for detect `threshold = "recall@fppi=0.5"`; '
        'for regress `interval = 0.9`, `by_size = true`; for reconstruct `threshold = "accept=0.98"`',
    )
