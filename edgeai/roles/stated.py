"""How often each label is stated, before a switch and on probation: a model that says otherwise of like images.

Of a series one image counts, since its images are much alike; so do probation's figures hold what an interval asks for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgeai.agreement import interval

if TYPE_CHECKING:
    from edgeai.api.results import Result

MOST_LABELS: Final = 64
"""A model of more is not looked at in this way."""

LEAST: Final = 10
"""Images on probation before anything is said of them."""

_LATELY: Final = 100
_SERIES_KNOWN: Final = 1000


class Stated:
    """Of what runs, in memory: the last images that were completed, one a series."""

    def __init__(self) -> None:
        self._series: deque[str] = deque(maxlen=_SERIES_KNOWN)
        self._lately: deque[frozenset[str]] = deque(maxlen=_LATELY)

    def of(self, result: Result) -> frozenset[str] | None:
        """The labels that a completed result states of the whole image; ``None`` where its series was seen before."""
        series = result.instance.series_instance_uid
        if series in self._series:
            return None
        self._series.append(series)
        return frozenset(
            f"{finding.kind} {finding.label}"
            for finding in result.findings
            if finding.present and finding.frame_number is None
        )

    def add(self, result: Result) -> None:
        """One more, of what stands."""
        labels = self.of(result)
        if labels is not None:
            self._lately.append(labels)

    def forget(self) -> None:
        """Something else stands now."""
        self._lately.clear()

    def figures(self) -> tuple[int, dict[str, int]]:
        """Of how many images something is known, and on how many of these each label was stated."""
        counts = Counter(label for labels in self._lately for label in labels)
        return (len(self._lately), dict(counts)) if len(counts) <= MOST_LABELS else (0, {})


def shift(before: Mapping[str, int], of_before: int, now: Mapping[str, int], of_now: int) -> str:
    """Which label is stated so much more or less often than before that chance does not explain it; else empty.

    The intervals of both rates, each right at 95 % after any number of images, have nothing in common. With equal rates
    that happens far less often than once in twenty times, with many labels too. Nothing is said of the first images:
    those of one morning are much alike.
    """
    if of_now < LEAST:
        return ""
    for label in sorted({*before, *now}):
        old, new = before.get(label, 0), now.get(label, 0)
        (low, high), (least, most) = interval(new, of_now), interval(old, of_before)
        if high < least or low > most:
            here = f"{label} was stated on {new} of {of_now} images (between {low:.0%} and {high:.0%})"
            return f"{here}, and before on {old} of {of_before} (between {least:.0%} and {most:.0%})"
    return ""
