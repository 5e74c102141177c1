"""The report of a build: ``REPORT.md`` beside the card, ``report.html`` with pictures, and what goes into the bundle.

The bundle's copy leaves out every time that was measured, so that two builds of the same inputs stay byte-identical.
"""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from edgeai_workbench.card import Card
from edgeai_workbench.comparison import Comparison, Figure, Row
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.extra import needed
from edgeai_workbench.pack import BUNDLED_REPORT, REPORT
from edgeai_workbench.report.words import (
    chunks,
    decimals,
    failed,
    faster,
    headline,
    judged,
    judged_on,
    methods,
    sentence,
    smaller,
)

PAGE = "report.html"
_METRICS = 6
"""Metrics a table; more do not fit a page beside the names of the models."""
_TEMPLATES = Path(__file__).parent / "templates"
_ENGINES = ("keras", "tensorflow", "ai-edge-litert", "openvino", "nncf", "litert-quantizer", "numpy")


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


def write_report(
    folder: Path,
    card: Card,
    comparison: Comparison,
    pictures: Sequence[Picture],
    *,
    command: str,
    confirmed: Confirmed | None = None,
) -> None:
    """Write ``REPORT.md``, ``report.html`` and the bundle's copy below ``folder``.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    (folder / REPORT).write_text(markdown(card, comparison, command=command, confirmed=confirmed), encoding="utf-8")
    still = markdown(card, comparison, command=command, timed=False, confirmed=confirmed)
    (folder / BUNDLED_REPORT).write_text(still, encoding="utf-8")
    page = _rendered(
        "report.html.j2", card, comparison, command=command, timed=True, pictures=pictures, confirmed=confirmed
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def markdown(
    card: Card, comparison: Comparison, *, command: str, timed: bool = True, confirmed: Confirmed | None = None
) -> str:
    """The report as Markdown; without ``timed`` it holds nothing that differs from run to run."""
    return _rendered("report.md.j2", card, comparison, command=command, timed=timed, pictures=(), confirmed=confirmed)


def _rendered(
    template: str,
    card: Card,
    comparison: Comparison,
    *,
    command: str,
    timed: bool,
    pictures: Sequence[Picture],
    confirmed: Confirmed | None,
) -> str:
    jinja2 = needed("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "size": _size,
        "figure": _figure,
        "decimals": decimals,
        "smaller": smaller,
        "faster": faster,
    }
    shown: str = environment.get_template(template).render(
        card=card,
        comparison=comparison,
        headline=headline(confirmed.comparison if confirmed else comparison, timed=timed),
        judged_on=judged_on(comparison, confirmed),
        confirmed=confirmed,
        methods=methods(comparison),
        sentence=lambda row: sentence(row, comparison, timed=timed),
        judged=lambda row: judged(row, timed=timed),
        metrics=chunks(_metrics(comparison), _METRICS),
        columns=_columns(comparison),
        parts=_parts(comparison),
        tested=chunks(_metrics(confirmed.comparison), _METRICS) if confirmed else [],
        command=command,
        timed=timed,
        pictures=pictures,
        failed=failed(confirmed.comparison if confirmed else comparison, timed=timed),
        layers=_layers(comparison),
        gates=lambda row: _held(row, timed=timed),
        engines=_engines() if timed else {},
        machine=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}" if timed else "",
    )
    return shown


def _metrics(comparison: Comparison) -> list[str]:
    """The main one first."""
    names = list(comparison.rows[0].figures)
    return sorted(names, key=lambda name: (name != comparison.main, names.index(name)))


def _columns(comparison: Comparison) -> list[Row]:
    """The parent, and what ships."""
    return [row for place, row in enumerate(comparison.rows) if place == 0 or row.ship]


def _parts(comparison: Comparison) -> list[tuple[str, str, list[Figure | None]]]:
    """(subgroup or label, metric, its figure of each of ``_columns``); the main metric where it is determined."""
    rows = _columns(comparison)
    shown = []
    for part, figures in rows[0].parts.items():
        metric = comparison.main if comparison.main in figures else next(iter(figures), "")
        shown.append((part, metric, [row.parts.get(part, {}).get(metric) for row in rows]))
    return shown


def _held(row: Row, *, timed: bool) -> str:
    """One word for all gates of a row; without times, what was measured of time does not count either."""
    verdicts = judged(row, timed=timed)
    if not verdicts:
        return ""
    return "hold" if all(verdict.holds for verdict in verdicts) else ("FAIL" if row.ship else "would fail")


def _layers(comparison: Comparison) -> Mapping[str, list[tuple[str, float]]]:
    """Artifact -> its ten worst layers."""
    worst = {}
    for row in comparison.rows:
        if row.layers:
            worst[row.id] = sorted(row.layers.items(), key=lambda item: -item[1])[:10]
    return worst


def _engines() -> dict[str, str]:
    found = {}
    for name in _ENGINES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    unit = f" {figure.unit}" if figure.unit else ""
    if math.isnan(figure.low) or math.isnan(figure.high):
        return f"{decimals(figure.value)}{unit}"
    return f"{decimals(figure.value)} ({decimals(figure.low)} to {decimals(figure.high)}){unit}"
