"""``signatures.json`` alone: one reading, a bound, and bytes that do not depend on the order of signing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    SignatureDecl,
    decode_envelope,
    encode_envelope,
)

MANIFEST = b'{"schema":1}'
SIG = base64.b64encode(b"s" * 64).decode()
IDS = ["1" * 64, "2" * 64]


def body(**changes: Any) -> dict[str, Any]:
    whole = {
        "payload": base64.b64encode(MANIFEST).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": IDS[0], "sig": SIG}],
    }
    return whole | changes


def data(**changes: Any) -> bytes:
    return json.dumps(body(**changes)).encode()


def refused(raw: bytes, manifest: bytes = MANIFEST) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        decode_envelope(raw, manifest)
    return caught.value


def test_what_is_written_is_read_and_in_one_order() -> None:
    signatures = [SignatureDecl(keyid=keyid, sig=SIG) for keyid in IDS]
    written = encode_envelope(MANIFEST, signatures)
    assert encode_envelope(MANIFEST, reversed(signatures)) == written
    read = decode_envelope(written, MANIFEST)
    assert [(item.keyid, item.hex) for item in read.signatures] == [(keyid, (b"s" * 64).hex()) for keyid in IDS]
    assert list(json.loads(written)) == ["payload", "payloadType", "signatures"]


@pytest.mark.parametrize(
    ("what", "raw"),
    [
        ("payload", data()[:-1] + b', "payload": ' + json.dumps(body()["payload"]).encode() + b"}"),
        ("payloadType", data()[:-1] + b', "payloadType": "' + PAYLOAD_TYPE.encode() + b'"}'),
        ("sig", data().replace(b'"sig":', b'"sig": "AAAA", "sig":')),
        ("keyid", data().replace(b'"keyid":', b'"keyid": "' + b"3" * 64 + b'", "keyid":')),
    ],
)
def test_a_key_that_stands_twice_is_refused_though_all_else_is_right(what: str, raw: bytes) -> None:
    """One reader takes the first and another the last, so that two of them would see two documents."""
    assert json.loads(raw) == body(), "as a reader that takes the last sees it"
    error = refused(raw)
    assert error.code == "bundle.bad-signatures-file"
    assert f"{what!r} appears twice" in str(error)


def test_nothing_is_read_above_the_bound_and_all_of_it_up_to_the_bound() -> None:
    padding = b" " * (MAX_ENVELOPE_BYTES - len(data()))
    assert len(decode_envelope(data() + padding, MANIFEST).signatures) == 1
    error = refused(data() + padding + b" ")
    assert error.code == "bundle.too-large"
    assert str(MAX_ENVELOPE_BYTES) in str(error)


def test_the_bound_holds_the_largest_manifest_with_all_its_signatures() -> None:
    longest = base64.b64encode(b"s" * 9000).decode()
    signatures = [SignatureDecl(keyid=f"{n:064x}", sig=longest) for n in range(MAX_SIGNATURES)]
    manifest = b" " * (4 << 20)
    assert len(decode_envelope(encode_envelope(manifest, signatures), manifest).signatures) == MAX_SIGNATURES


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"payloadType": "application/json"}, "application/json"),
        ({"payload": base64.b64encode(b"{}").decode()}, "another manifest"),
        ({"payload": "QR=="}, "bits behind its end"),
        ({"signatures": [{"keyid": IDS[0], "sig": "QR=="}]}, "bits behind its end"),
        ({"signatures": [{"keyid": IDS[0], "sig": SIG}] * 2}, "signs twice"),
        ({"signatures": [{"keyid": "A" * 64, "sig": SIG}]}, ""),
        ({"signatures": [{"keyid": "1" * 63, "sig": SIG}]}, ""),
        ({"signatures": [{"keyid": f"{n:064x}", "sig": SIG} for n in range(MAX_SIGNATURES + 1)]}, ""),
        ({"signatures": [{"keyid": IDS[0], "sig": "A" * 12_004}]}, ""),
        ({"payload": 5}, ""),
    ],
)
def test_each_mistake_is_refused_in_one_sentence(changes: dict[str, Any], why: str) -> None:
    error = refused(data(**changes))
    assert error.code == "bundle.bad-signatures-file"
    assert why in str(error)
    assert error.remedy


def test_as_many_signatures_as_are_allowed_are_read() -> None:
    signatures = [{"keyid": f"{n:064x}", "sig": SIG} for n in range(MAX_SIGNATURES)]
    assert len(decode_envelope(data(signatures=signatures), MANIFEST).signatures) == MAX_SIGNATURES


def test_the_payload_type_of_another_kind_is_cut_short_in_the_message() -> None:
    assert len(str(refused(data(payloadType="x" * 5000)))) < 300


def test_of_several_keys_that_stand_twice_the_same_one_is_always_named() -> None:
    raw = b"{" + b",".join(b'"%c":1,"%c":2' % (letter, letter) for letter in b"zyxwvutsrqponmlkjihgfedcba") + b"}"
    assert "key 'a' appears twice" in str(refused(raw))
