"""A message in fewer bytes, for a broker that takes only so many: without what nobody misses, then without contours.

The spool and every other sink keep the whole of it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

CODE = "result.contours-omitted"
"""Code of the note that says what was left out."""

_OPTIONAL = ("notes", "guard", "attachments", "degraded", "frames_total", "frames_run")
_OPTIONAL_OF_FINDING = ("probability", "threshold", "concept", "frame_number", "region", "measurements")
_NO_CONTOURS = "the contours were left out, since the broker takes no message as long as they make it"
_NO_REGIONS = "contours and places were left out, since the broker takes no message as long as they make it"


def smaller(body: bytes) -> Iterator[bytes]:
    """The same message, smaller each time: without blanks and empty values, without contours, without regions.

    Nothing for what is not a JSON object; only the first step for what is not a result.
    """
    try:
        message = json.loads(body)
    except ValueError:
        return
    if not isinstance(message, dict):
        return
    findings = message.get("findings")
    if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
        yield _compact(message)
        return
    yield _compact(_without_empty(message))
    places = [finding["region"] for finding in findings if isinstance(finding.get("region"), dict)]
    if any(place.get("contours") for place in places):
        for place in places:
            place["contours"] = []
        yield _compact(_without_empty(_noted(message, _NO_CONTOURS)))
    if places:
        for finding in findings:
            finding.pop("region", None)
        yield _compact(_without_empty(_noted(message, _NO_REGIONS)))


def without_contours(body: bytes) -> bytes | None:
    """The first of the smaller forms that leaves something out; None when there is nothing to leave out."""
    forms = list(smaller(body))
    return forms[1] if len(forms) > 1 else None


def _without_empty(message: dict[str, Any]) -> dict[str, Any]:
    """The same without the keys that say nothing and that a reader takes for empty where they are missing."""
    kept = {name: value for name, value in message.items() if name not in _OPTIONAL or value not in (None, [])}
    kept["findings"] = [
        {name: value for name, value in finding.items() if name not in _OPTIONAL_OF_FINDING or value is not None}
        for finding in message["findings"]
    ]
    return kept


def _noted(message: dict[str, Any], text: str) -> dict[str, Any]:
    noted = copy.copy(message)
    notes = message.get("notes")
    noted["notes"] = [*(notes if isinstance(notes, list) else []), {"code": CODE, "text": text}]
    return noted


def _compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
