"""The tables of ``docs/reference/card.md``, out of the card's own types, so that the reference cannot lag behind.

``python -m edgeai_workbench.card_reference docs/reference/card.md`` writes them anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from edgeai.bundle.parts import Record
from edgeai_workbench import card, card_parts, choice_keys, control_keys, gate_keys, splits
from edgeai_workbench.robustness.settings import RobustnessUse
from edgeai_workbench.stress.settings import StressUse, Wrong
from edgeai_workbench.tables import Table

BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"

SECTIONS: tuple[tuple[str, type[Table]], ...] = (
    ("Top level", card.Card),
    ("`[eligibility]`", card_parts.ELIGIBILITY),
    ("`[pixels]`", card_parts.PIXELS),
    ("`[frames]`", card_parts.FRAMES),
    ("`[[transforms]]`", card_parts.TRANSFORM),
    ("`[guard]`", card_parts.GuardTable),
    ("`[guard.distance]`", card_parts.DistanceTable),
    ("`[guard.model]`", card_parts.Standing),
    ("`[guard.abstention]`", card_parts.AbstentionTable),
    ("`[task]`", card_parts.TASK),
    ("`[[inputs]]` and `[[outputs]]`", card.Tensor),
    ("`[[variants]]`", card.Variant),
    ("`steps` of `[[variants]]`", card.CompressStep),
    ("`[[recipes]]`", card.Recipe),
    ("`[[data]]`", card.Data),
    ("`[dataset]`", splits.Dataset),
    ("`[dataset.train]`, `.validation`, `.test` and `.external`", splits.Split),
    ("`[choice]`", choice_keys.Choice),
    ("`[calibration]`", card.Calibration),
    ("`[training]`", card.Training),
    ("`[gates]`", gate_keys.Gates),
    ("`[gates.decision]`", gate_keys.Decision),
    ("`[robustness]`", RobustnessUse),
    ("`[stress]`", StressUse),
    ("`[[stress.wrong]]`", Wrong),
    ("`[change_control]`", control_keys.Control),
)


def tables() -> str:
    """Every section, as Markdown."""
    return "\n".join(_section(title, table) for title, table in SECTIONS)


def written(text: str) -> str:
    """``text`` with what lies between the marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + tables() + "\n" + END + after


def _section(title: str, table: type[Table]) -> str:
    sentence = " ".join((table.__doc__ or "").split()).partition(": ")[2]
    sentence = sentence[:1].upper() + sentence[1:] if sentence else " ".join((table.__doc__ or "").split())
    return "\n".join((f"## {title}", "", sentence, "", "| key | what | default |", "|---|---|---|", *_rows(table), ""))


def _rows(table: type[Table]) -> Iterator[str]:
    for name, field in table.model_fields.items():
        what = field.description or "a table of its own, below"
        yield f"| `{field.alias or name}` | {what} | {_default(field)} |"


def _default(field: FieldInfo) -> str:
    value, factory = field.default, field.default_factory
    if field.is_required():
        return "required"
    if isinstance(value, Table) or (isinstance(factory, type) and issubclass(factory, Record)):
        return "as below"
    if value is PydanticUndefined:
        return "{}"
    return "nothing" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
