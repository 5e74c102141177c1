"""The report of a build: ``REPORT.md`` beside the card, ``report.html`` with pictures, and what goes into the bundle.

It is rendered from the evidence, which is written beside it, so that the two cannot differ. The bundle's copies leave
out every time that was measured, so that two builds of the same inputs stay byte-identical.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeai.bundle.evidence import Candidate, Evidence, Trial
from edgeai_workbench.card import Card
from edgeai_workbench.evidence import still, write_evidence
from edgeai_workbench.judgement import BUNDLED_REPORT
from edgeai_workbench.libraries import needed
from edgeai_workbench.pack import REPORT
from edgeai_workbench.report.sections import Code, sections
from edgeai_workbench.report.words import (
    abstention_says,
    chunks,
    decimals,
    ended_says,
    estimate,
    failed,
    faster,
    guard_says,
    headline,
    held_on,
    interval,
    judged_on,
    loaded,
    methods,
    near,
    opened,
    samples_of,
    sentence,
    size,
    smaller,
)
from edgeai_workbench.stress.words import NOT_ASKED

PAGE = "report.html"
_METRICS = 6
"""Metrics a table; more do not fit a page beside the names of the models."""
_TEMPLATES = Path(__file__).parent / "templates"


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of the report: PNG bytes, and what it shows; ``wide`` where it takes the page's whole width."""

    title: str
    says: str
    png: bytes
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture inside the page, so that the page is one file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def write_report(folder: Path, card: Card, evidence: Evidence, pictures: Sequence[Picture]) -> None:
    """Write ``evidence.json``, ``REPORT.md`` and ``report.html`` below ``folder``, and the bundle's copies.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    write_told(folder, card, evidence)
    page = _rendered("report.html.j2", card, evidence, pictures=pictures)
    (folder / PAGE).write_text(page, encoding="utf-8")


def write_told(folder: Path, card: Card, evidence: Evidence) -> None:
    """Of those the files that need no pictures. Raises as ``write_report``, before anything is written."""
    texts = {REPORT: markdown(card, evidence), BUNDLED_REPORT: markdown(card, still(evidence))}
    write_evidence(folder, evidence)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def markdown(card: Card, evidence: Evidence) -> str:
    """The report as Markdown; of evidence that is ``still`` it holds nothing that differs from run to run."""
    return _rendered("report.md.j2", card, evidence, pictures=())


def _rendered(template: str, card: Card, evidence: Evidence, *, pictures: Sequence[Picture]) -> str:
    shown: str = (
        _templates(template.endswith(".html.j2"))
        .get_template(template)
        .render(_said(card, evidence), pictures=pictures)
    )
    return shown


@functools.cache
def _templates(autoescape: bool) -> Any:
    """The environment of the templates, which compiles each once."""
    jinja2 = needed("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "size": size,
        "figure": estimate,
        "interval": interval,
        "decimals": decimals,
        "smaller": smaller,
        "faster": faster,
    }
    environment.tests["code"] = lambda cell: isinstance(cell, Code)
    return environment


def _guard(card: Card, evidence: Evidence) -> str:
    """All that is said of what gets no statement."""
    trials = evidence.trials
    asked = "" if evidence.stress else NOT_ASKED
    told = [guard_says(card.guard, trials), abstention_says(card.guard, trials), *map(ended_says, trials), asked]
    return " ".join(filter(None, told))


def _said(card: Card, evidence: Evidence) -> dict[str, Any]:
    """What both templates are given."""
    first, confirmed = evidence.trials[0], evidence.of("test")
    machine = evidence.machine
    return {
        "card": card,
        "evidence": evidence,
        "comparison": first,
        "confirmed": confirmed,
        "opening": next(
            (opened(one) for one in reversed(evidence.openings) if confirmed and one.data == confirmed.data), ""
        ),
        "headline": headline(evidence),
        "guard": _guard(card, evidence),
        "judged_on": judged_on(evidence),
        "near": near(first),
        "methods": methods(evidence.trials),
        "held_on": held_on(evidence.trials),
        "sentence": lambda row: sentence(row, first, confirmed),
        "judged": confirmed or first,
        "samples": samples_of,
        "metrics": chunks(_metrics(first), _METRICS),
        "tested": chunks(_metrics(confirmed), _METRICS) if confirmed else [],
        "sections": sections(evidence),
        "timed": any(row.time is not None for row in first.models),
        "failed": failed(evidence),
        "layers": _layers(first),
        "gates": _held,
        "machine": machine,
        "load": loaded(machine.load) if machine else "",
    }


def _metrics(trial: Trial) -> list[str]:
    """Of any model, the main one first: of a parent that states no positive, samples determine no precision."""
    names = list(dict.fromkeys(name for row in trial.models for name in row.figures))
    return sorted(names, key=lambda name: (name != trial.main, names.index(name)))


def _held(row: Candidate) -> str:
    """One word for all gates of a row."""
    if not row.verdicts:
        return ""
    return "hold" if all(verdict.holds for verdict in row.verdicts) else ("FAIL" if row.ship else "would fail")


def _layers(trial: Trial) -> Mapping[str, list[tuple[str, float]]]:
    """Artifact -> its ten worst layers."""
    worst = {}
    for row in trial.models:
        known = [(name, error) for name, error in row.layers.items() if error is not None]
        if known:
            worst[row.id] = sorted(known, key=lambda item: -item[1])[:10]
    return worst
