"""A result in the form of schema 1, for subscribers that do not read 2 yet (``docs/guides/result-schema-2.md``)."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from edgeai.api.imaging import IN_THE_PATIENT
from edgeai.api.results import Outcome, Result
from edgeai.model.results import uuid_of

_NEW_KEYS: Final = ("attempt", "notes", "frames_total", "frames_run", "guard", "attachments")
_NEW_IN_A_FINDING: Final = ("measurements", "codes", "notes", "heat")
_IDENTITY: Final = b"edgeai result 1 attempt"


def as_schema_1(result: Result) -> dict[str, Any]:
    """The same statement in the words of schema 1.

    A reader of schema 1 deduplicates by the result id alone, so a further attempt gets an id of its own. It does not
    know *indeterminate*, which becomes *failed* with its code: never something that it could take for a negative.
    """
    body = result.as_dict()
    for name in _NEW_KEYS:
        del body[name]
    for finding in body["findings"]:
        for name in _NEW_IN_A_FINDING:
            finding.pop(name, None)
        if "region" in finding and finding["region"].pop("spacing_from") not in (None, *IN_THE_PATIENT):
            finding["region"].update(area_mm2=None, perimeter_mm=None)  # that form cannot say whose they are
    del body["instance"]["content"]
    if result.outcome is Outcome.INDETERMINATE:
        body["outcome"] = str(Outcome.FAILED)
    if result.attempt > 1:
        body["result_id"] = _id_of_attempt(result)
    return {**body, "schema": 1}


def _id_of_attempt(result: Result) -> str:
    named = b"\0".join((_IDENTITY, result.result_id.encode(), str(result.attempt).encode()))
    return uuid_of(hashlib.sha256(named).digest())
