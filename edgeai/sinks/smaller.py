"""A message in fewer bytes, for a broker that takes only so many: without what nobody misses, then without drawings.

The spool and every other sink keep the whole of it. Each form obeys the schema of the message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_DRAWN = {"code": "result.contours-omitted", "text": "contours and heat left out: too long for the broker"}
_REGIONS = {
    "code": "result.contours-omitted",
    "text": "regions, heat and figures of checks left out: too long for the broker",
}
_FIGURES = {"code": "result.figures-omitted", "text": "figures of checks left out: too long for the broker"}


def smaller(body: bytes) -> Iterator[bytes]:
    """The same message, smaller each time: without blanks, timings, contours and heat, regions and figures of checks.

    What is left out, but for timings, stands in the result's notes. Nothing for what is not a JSON object; of what is
    not a result only the blanks go.
    """
    try:
        message = json.loads(body)
    except ValueError:
        return
    if not isinstance(message, dict):
        return
    yield _compact(message)
    findings = message.get("findings")
    if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
        return
    if message.get("timings_ms"):
        message["timings_ms"] = {}
        yield _compact(message)
    regions = [finding["region"] for finding in findings if isinstance(finding.get("region"), dict)]
    heated = any(finding.get("heat") for finding in findings)
    if heated or any(region.get("contours") for region in regions):
        for region in regions:
            region["contours"] = []
        for finding in findings:
            finding.pop("heat", None)
        yield _compact(_noted(message, _DRAWN))
    if regions or message.get("guard"):
        for finding in findings:
            finding.pop("region", None)
        if message.get("guard"):
            message["guard"] = []
        yield _compact(_noted(message, _REGIONS if regions or heated else _FIGURES))


def smallest(body: bytes) -> bytes | None:
    """The last of the smaller forms; None when there is none."""
    forms = list(smaller(body))
    return forms[-1] if forms else None


def _noted(message: dict[str, Any], note: dict[str, str]) -> dict[str, Any]:
    notes = message.get("notes")
    return {**message, "notes": [*(notes if isinstance(notes, list) else []), note]}


def _compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
