"""The stress set for people: the same cells in the terminal, in the report and in a page of its own."""

from __future__ import annotations

from collections.abc import Sequence

from edgeai_workbench.robustness.words import aligned, share
from edgeai_workbench.stress.results import Row, Stress

TITLE = "Wrong images"
NOT_ASKED = "What is withheld of wrong images was not asked: the card has no `[stress]`."


def headline(stress: Stress) -> str:
    """Of which images, in a sentence."""
    most = max(row.samples for row in stress.rows)
    return (
        f"What is withheld of wrong images, up to {most} of a kind, under a header that the model takes: the packed "
        "artifacts were asked as a cart asks them. Its own images are of validation; of those that were changed a "
        "statement counts as good, too, that is right, or the same as before. 95 % intervals by Wilson"
    )


def table(stress: Stress) -> list[tuple[str, ...]]:
    """A row a kind, a column an artifact, the head first."""
    models = list(dict.fromkeys(row.model for row in stress.rows))
    by_kind: dict[str, list[Row]] = {}
    for row in stress.rows:
        by_kind.setdefault(row.kind, []).append(row)
    bounds = {kind: rows[0].min_withheld for kind, rows in by_kind.items()}
    return [
        ("images", "count", *models, "to be at least"),
        *(
            (kind, str(rows[0].samples), *map(_cell, rows), "" if bounds[kind] is None else f"{bounds[kind]:.4g}")
            for kind, rows in by_kind.items()
        ),
    ]


def _cell(row: Row) -> str:
    """``100.0% (91% to 100%), guard.smooth``, and what else is good of its own."""
    parts = [share(row.withheld), row.mostly]
    parts += ["" if row.kept is None else f"with good statements {share(row.kept)}", "" if row.holds else "FAILS"]
    return ", ".join(filter(None, parts))


def legend(stress: Stress) -> list[str]:
    """What each kind is."""
    kinds = {row.kind: row.says for row in stress.rows}
    return [f"{kind}: {says[:1].lower()}{says[1:]}" for kind, says in kinds.items()]


def lines_of(stress: Stress) -> list[str]:
    """All of it, for a terminal."""
    return ["", f"{headline(stress)}.", *aligned(table(stress)), "", *legend(stress)]


def markdown(name: str, digest: str, command: str, stress: Stress) -> str:
    """A page to stand beside the model, of a bundle that is packed already."""
    lines = [
        f"# {name}: wrong images",
        "",
        f"{headline(stress)}.",
        "",
        f"Of the bundle `{digest}`, by `{command}`.",
        "",
        *_markdown(table(stress)),
        "",
        *(f"- {line}" for line in legend(stress)),
    ]
    return "\n".join(lines) + "\n"


def _markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [f"| {' | '.join(row)} |" for row in rows]
    return [shown[0], "|---" * len(rows[0]) + "|", *shown[1:]]
