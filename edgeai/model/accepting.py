"""A site's own cases: what is expected of each, and how often a model's findings are that. Pure, and without scipy.

What a task's judge knows (overlap, distances, thresholds) stays on the build host. Here decisions are counted: whether
a label is stated that is to be stated, and is not that is not to be. What was withheld is not right.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api.errors import ConfigError
from edgeai.api.results import Finding, Outcome, Result
from edgeai.bundle.acceptance import Judged, Share

CASES_NAME: Final = "cases.csv"
_COLUMNS: Final = ("file", "label", "present")
_WORDS: Final = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}
_Z: Final = 1.959963984540054
_REMEDY: Final = f"{CASES_NAME} has the columns file, label, present (yes or no); perhaps measurement, least, most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Of one image: whether a label is there, and between which bounds a measurement of it may be."""

    label: str
    present: bool
    measurement: str = ""
    least: float = -math.inf
    most: float = math.inf


def read_cases(folder: Path) -> dict[Path, tuple[Expectation, ...]]:
    """The images of a folder by ``cases.csv``, a row an expectation.

    Raises:
        ConfigError: ``config.cases``.
    """
    path = folder / CASES_NAME
    cases: dict[Path, list[Expectation]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
                raise _wrong(path, 1, f"it has no column {', '.join(missing)}")
            for line, row in enumerate(reader, start=2):
                image = folder / (row["file"] or "")
                if not image.is_file():
                    raise _wrong(path, line, f"there is no file {row['file']!r}")
                expected, others = _expectation(path, line, row), cases.setdefault(image, [])
                if any(_is_again(expected, other) for other in others):
                    raise _wrong(path, line, f"{expected.label} of {row['file']} is said before")
                others.append(expected)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code="config.cases", remedy=_REMEDY) from error
    if not cases:
        raise _wrong(path, 1, "it has no case")
    return {image: tuple(expected) for image, expected in cases.items()}


def digest_of_cases(cases: Mapping[str, Sequence[Expectation]]) -> str:
    """Of contents (by hash) and what is expected of them, in whatever order they were given."""
    lines = sorted(f"{content} {expected!r}" for content, each in cases.items() for expected in each)
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def judged(case: str, expected: Sequence[Expectation], result: Result) -> Iterator[Judged]:
    """Each expectation of an image against what the model said; ``case`` is what the report calls the image."""
    for each in expected:
        finding = _of_label(result, each.label)
        if result.outcome is not Outcome.COMPLETED or finding is None:
            why = result.reason.code if result.reason else "no such label"
            yield Judged(case=case, label=each.label, expected=each.present, stated=None, right=False, why=why)
            continue
        why = _measured(each, finding)
        right = finding.present == each.present and not why
        yield Judged(case=case, label=each.label, expected=each.present, stated=finding.present, right=right, why=why)


def share(count: int, of: int) -> Share:
    """With the interval of Wilson (1927), which holds for few samples and near 0 and 1."""
    if of == 0:
        return Share(count=0, of=0, low=0.0, high=1.0)
    part, spread = count / of, _Z * _Z / of
    middle = (part + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(part * (1 - part) / of + spread / (4 * of))
    return Share(count=count, of=of, low=max(0.0, middle - half), high=min(1.0, middle + half))


def by_image(answers: Sequence[Judged]) -> Share:
    """Of the images: of how many all that is expected is right. What is said of one image is no sample of its own."""
    right: dict[str, bool] = {}
    for item in answers:
        right[item.case] = right.get(item.case, True) and item.right
    return share(sum(right.values()), len(right))


def by_label(answers: Sequence[Judged], *, present: bool) -> dict[str, Share]:
    """Of the images of which a label is expected, or its absence: of how many the model says so."""
    met: dict[str, dict[str, bool]] = {}
    for item in answers:
        if item.expected == present:
            met.setdefault(item.label, {})[item.case] = item.stated == present
    return {label: share(sum(images.values()), len(images)) for label, images in met.items()}


def _of_label(result: Result, label: str) -> Finding | None:
    """The statement on the whole instance; else that on a frame which states it, or any."""
    own = [finding for finding in result.findings if finding.label == label]
    ranked = sorted(own, key=lambda finding: (finding.frame_number is not None, not finding.present))
    return ranked[0] if ranked else None


def _measured(expected: Expectation, finding: Finding) -> str:
    """Why a measurement is not as expected; empty where it is, or where none is asked for."""
    if not expected.measurement:
        return ""
    value = next((item.value for item in finding.measurements if item.name == expected.measurement), None)
    if value is None and finding.region is not None:
        value = getattr(finding.region, expected.measurement, None)
    if not isinstance(value, int | float):
        return f"no {expected.measurement}"
    is_within = expected.least <= value <= expected.most
    return "" if is_within else f"{expected.measurement} is {value:.4g}"


def _expectation(path: Path, line: int, row: Mapping[str, str | None]) -> Expectation:
    word = (row["present"] or "").strip().lower()
    if word not in _WORDS:
        raise _wrong(path, line, f"present is {row['present']!r}")
    if not (label := (row["label"] or "").strip()):
        raise _wrong(path, line, "it names no label")
    try:
        least, most = (float(row.get(name) or default) for name, default in (("least", "-inf"), ("most", "inf")))
    except ValueError as error:
        raise _wrong(path, line, str(error)) from error
    return Expectation(
        label=label, present=_WORDS[word], measurement=(row.get("measurement") or "").strip(), least=least, most=most
    )


def _is_again(expected: Expectation, other: Expectation) -> bool:
    """Whether two of one image say one thing, or contradict each other."""
    if expected.label != other.label:
        return False
    return expected.measurement == other.measurement or expected.present != other.present


def _wrong(path: Path, line: int, what: str) -> ConfigError:
    return ConfigError(f"{path}:{line}: {what}", code="config.cases", remedy=_REMEDY)
