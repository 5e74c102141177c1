"""A site's own report on a bundle: what it said of the site's cases on the site's own cart, signed by the site.

DSSE again, with a payload type of its own, so that a report is no manifest and a manifest no report. Cases are named by
the hash of their content: no UID and no name of a patient leaves with it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.envelope import Envelope, payload_of
from edgeai.bundle.keys import read_keys
from edgeai.bundle.parts import Count, Record, Text, Word
from edgeai.bundle.signing import sign_payload
from edgeai.bundle.strict_json import read_object
from edgeai.bundle.trust import check_signatures

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

ACCEPTANCE_TYPE: Final = "application/vnd.edgeai.acceptance+json"
MAX_ACCEPTANCE_BYTES: Final = 64 * 1024 * 1024
FOLDER: Final = "acceptance"
"""Of ``data_dir``: where a cart looks for reports."""
_SCHEMA: Final = 1


class Judged(Record, frozen=True, kw_only=True):
    """One expectation: ``expected`` and ``stated`` of a label; ``stated`` is ``None`` where nothing was (``code``)."""

    case: Word
    label: Word
    expected: bool
    stated: bool | None
    right: bool
    why: str = ""


class Share(Record, frozen=True, kw_only=True):
    """``count`` of ``of``, with Wilson's interval of 95 %."""

    count: Count
    of: Count
    low: float
    high: float


class Acceptance(Record, frozen=True, kw_only=True):
    """What came of it.

    ``data`` is the digest of the cases and what is expected of them. ``right`` counts the images of which all that is
    expected is right, and what was withheld as not right; ``sensitivity`` and ``specificity`` by label count images so
    too. ``accepted``: the lower end of ``right`` is at least ``least``.
    """

    schema: int = _SCHEMA
    model: Word
    version: Word
    digest: Word
    site: Word
    device_id: Word
    deployment: Word
    at: Word
    edgeai_version: Word
    engine: dict[str, str]
    data: Word
    cases: Count
    least: float
    right: Share
    withheld: Count
    accepted: bool
    sensitivity: dict[Word, Share] = msgspec.field(default_factory=dict)
    specificity: dict[Word, Share] = msgspec.field(default_factory=dict)
    says: Text | None = None
    answers: tuple[Judged, ...] = ()


def encode_acceptance(report: Acceptance) -> bytes:
    """The report alone, as it is signed."""
    return msgspec.json.encode(report, order="sorted")


def signed_acceptance(report: Acceptance, signer: Signer) -> bytes:
    """The report in its envelope, as it is kept.

    Raises:
        ConfigError: ``keys.token``.
    """
    payload = encode_acceptance(report)
    envelope = Envelope(
        payload=base64.standard_b64encode(payload).decode("ascii"),
        payload_type=ACCEPTANCE_TYPE,
        signatures=(sign_payload(payload, ACCEPTANCE_TYPE, signer),),
    )
    return msgspec.json.encode(envelope, order="sorted") + b"\n"


def read_acceptance(data: bytes, keys: Path) -> Acceptance:
    """A report that one of these keys signed.

    Raises:
        BundleRejected: ``bundle.bad-acceptance``.
        ConfigError: ``keys.not-public``, ``keys.bounds``.
    """
    try:
        read_object(data)
        envelope = msgspec.json.decode(data, type=Envelope, strict=True)
        payload = payload_of(data)
        if envelope.payload_type != ACCEPTANCE_TYPE:
            raise _bad(f"it is a {envelope.payload_type[:100]!r}")
        checks = check_signatures(envelope, payload, read_keys([keys]), ACCEPTANCE_TYPE)
        read_object(payload)
        report = msgspec.json.decode(payload, type=Acceptance, strict=True)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _bad(str(error)) from error
    if report.schema != _SCHEMA:
        raise _bad(f"it has schema {report.schema}, and schema {_SCHEMA} is read")
    if not any(item.of(report.model) == "good" for item in checks):
        raise _bad(f"no key in {keys} signed it")
    return report


def accepted_digests(data_dir: Path, keys: Path | None, device: Mapping[str, str]) -> frozenset[str]:
    """The bundles that this device's own site has accepted, by the reports that lie there; others count for nothing.

    Args:
        data_dir: of the device.
        keys: whose signature makes a report count; nobody's without.
        device: ``site`` and ``device_id`` that a report must be of.
    """
    accepted: set[str] = set()
    if keys is None:
        return frozenset()
    for path in sorted((data_dir / FOLDER).glob("*.json")):
        try:
            with path.open("rb") as file:
                report = read_acceptance(file.read(MAX_ACCEPTANCE_BYTES), keys)
        except (OSError, BundleRejected):
            continue
        if report.accepted and device == {"site": report.site, "device_id": report.device_id}:
            accepted.add(report.digest)
    return frozenset(accepted)


def _bad(why: str) -> BundleRejected:
    return BundleRejected(
        f"the report of an acceptance cannot be used: {why}",
        code="bundle.bad-acceptance",
        remedy="make it again with `edgeai accept`, signed by a key of [trust] acceptors",
    )
