"""A result in a reader's words: short, and never such that a failure could read as a negative."""

from __future__ import annotations

from edgeai.api.imaging import IMAGER_PIXEL_SPACING, NOMINAL_SCANNED_PIXEL_SPACING
from edgeai.api.results import Concept, Finding, Measurement, Outcome, Region, Result

PERCENT = 100.0
_UNITS = {"1": "", "mm2": "mm\u00b2", "cm2": "cm\u00b2", "{pixels}": "px"}
_PLANES = {IMAGER_PIXEL_SPACING: " on the detector", NOMINAL_SCANNED_PIXEL_SPACING: " on the film"}


def agreements(result: Result) -> tuple[Finding, ...]:
    """Whether the image fits its header, where the model says."""
    return tuple(f for f in result.findings if f.kind == "agreement" and f.frame_number is None)


def classes(result: Result) -> tuple[Finding, ...]:
    """What it says of the whole instance, most probable first."""
    of_image = [f for f in result.findings if f.kind != "agreement" and f.frame_number is None]
    return tuple(sorted(of_image, key=lambda f: (not f.present, -(f.probability or 0.0))))


def agreement_says(finding: Finding) -> str:
    """One phrase on an agreement finding."""
    if finding.probability is None:
        return f"{finding.label}: the header says nothing to compare with"
    return f"{finding.label} agrees" if finding.present else f"{finding.label} DISAGREES with the image"


def disagrees(finding: Finding) -> bool:
    """Whether the header says something else than the image."""
    return finding.kind == "agreement" and not finding.present and finding.probability is not None


def finding_says(result: Result) -> str:
    """What a table's cell holds: the labels that are present, or which one came nearest; or why there is nothing."""
    if result.outcome is not Outcome.COMPLETED:
        assert result.reason is not None
        return f"{result.reason.code}: {result.reason.message}"
    differs = (agreement_says(finding) for finding in agreements(result) if disagrees(finding))
    return "; ".join(filter(None, [labels_say(result), *differs]))


def labels_say(result: Result) -> str:
    """The labels that are present, each with its size, and where there are several with its score; or the nearest."""
    every = classes(result)
    present = [finding for finding in every if finding.present]
    if not present:
        return _none_says(every)
    if len(present) == 1:
        return " ".join(filter(None, [present[0].label, size_says(present[0])]))
    scores = [f"({percent(finding.probability)})" if finding.probability is not None else "" for finding in present]
    each = zip(present, scores, strict=True)
    return ", ".join(" ".join(filter(None, [finding.label, size_says(finding), score])) for finding, score in each)


def _none_says(ranked: tuple[Finding, ...]) -> str:
    if ranked and ranked[0].region is not None:
        return f"none found ({', '.join(finding.label for finding in ranked)})"
    measured = [f"{finding.label} not stated, {numbers_say(finding)}" for finding in ranked if finding.measurements]
    if measured or not ranked:
        return "; ".join(measured)
    nearest = ranked[0].probability is not None  # without any, nothing says which is
    return f"none present (nearest: {ranked[0].label})" if nearest else "none present"


def size_says(finding: Finding) -> str:
    """``1525.9 mm2``, or in pixels where nothing says how large those are; what was measured of kinds without a place.

    Millimetres that are not those of the anatomy are never without their plane.
    """
    region = finding.region
    if region is None or (is_boxed(region) and finding.measurements):
        return numbers_say(finding)
    if region.area_mm2 is None:
        return f"{region.area_px:.0f} px"
    return f"{region.area_mm2:.1f} mm2{plane_says(region)}"


def numbers_say(finding: Finding) -> str:
    """What was measured: ``5.3 px`` of what the label names itself, else ``length 41.3 mm, angle 12.0 deg``."""
    named = (("" if one.name == finding.label else f"{one.name} ") + value_says(one) for one in finding.measurements)
    return ", ".join(named)


_WHOLE = 1000.0
"""From here on three digits would need an exponent."""


def value_says(measurement: Measurement) -> str:
    """``41.3 mm (39.9 to 42.6)``: with its interval where the model states one."""
    digits = "{:.3g}".format if measurement.unit == "1" and abs(measurement.value) < _WHOLE else rounded
    value = f"{digits(measurement.value)} {_UNITS.get(measurement.unit, measurement.unit)}".strip()
    if measurement.interval is None:
        return value
    low, high = measurement.interval
    return f"{value} ({digits(low)} to {digits(high)})"


def rounded(value: float) -> str:
    """As many digits as a reader has a use for."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.3g}"


def code_says(concept: Concept) -> str:
    """``Left (SCT 7771000)``."""
    return f"{concept.meaning} ({concept.scheme} {concept.code})"


def is_boxed(region: Region | None) -> bool:
    """Whether a place is known by its box alone: its score is the box's, and no mean of what is inside."""
    return region is not None and region.box is not None and not region.contours


def plane_says(region: Region) -> str:
    """`` on the detector`` or `` on the film``, behind millimetres that are of those; empty behind the anatomy's."""
    return _PLANES.get(region.spacing_from or "", "")


def probability_says(result: Result) -> str:
    """The probability of the first label that the cell above names."""
    ranked = classes(result)
    return percent(ranked[0].probability) if ranked else ""


def percent(probability: float | None) -> str:
    """``97.3 %``; empty when there is none. What is not quite certain never reads ``100.0 %`` or ``0.0 %``."""
    if probability is None:
        return ""
    rounded = f"{probability * PERCENT:.1f} %"
    if rounded == "100.0 %" and probability < 1.0:
        return "> 99.9 %"
    return "< 0.1 %" if rounded == "0.0 %" and probability > 0.0 else rounded
