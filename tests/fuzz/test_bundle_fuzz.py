"""Damaged and forged signed bundles: the bundle that was signed, or a ``BundleRejected``; nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SIGNED = (ROOT / "tests/golden/bundles/good-signed-1.edgeai").read_bytes()
EXAMPLES = int(os.environ.get("EDGEAI_TORTURE_EXAMPLES", "50"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def target() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle_bytes", Path(__file__).with_name("bundle_bytes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wanted(target: ModuleType) -> dict[str, bytes]:
    return target.expected()  # type: ignore[no-any-return]


def members() -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(BytesIO(SIGNED)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


MEMBERS = members()


def packed(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive in our own form of whatever members, twice the same name included."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries:
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data)
    return out.getvalue()


DEFLATED = packed(MEMBERS)
FORMS = st.sampled_from([SIGNED, DEFLATED])
PLACE = st.floats(0, 1, exclude_max=True)
"""Where in an archive, whatever its length."""


def check(target: ModuleType, data: bytes, wanted: dict[str, bytes]) -> str:
    """How it ends for whoever trusts the signers; it ends in order for whoever asks for no signature, too."""
    endings = [str(target.outcome(data, wanted, trust)) for trust in (target.TRUST, None)]
    assert all(ending == "ok" or ending.startswith("bundle.") for ending in endings), endings
    return endings[0]


def test_the_bundle_itself_is_trusted(target: ModuleType, wanted: dict[str, bytes]) -> None:
    assert check(target, SIGNED, wanted) == "ok"
    assert check(target, packed(MEMBERS, zipfile.ZIP_STORED), wanted) == "ok"
    assert check(target, DEFLATED, wanted) == "ok"


@FUZZ
@given(FORMS, st.lists(st.tuples(PLACE, st.integers(1, 255)), min_size=1, max_size=4))
def test_bytes_changed_anywhere(
    target: ModuleType, wanted: dict[str, bytes], good: bytes, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(good)
    for at, mask in changes:
        data[int(at * len(good))] ^= mask
    check(target, bytes(data), wanted)


@FUZZ
@given(FORMS, PLACE, PLACE, st.sampled_from(["cut", "drop", "repeat", "swap", "insert"]), st.binary(max_size=60))
def test_stretches_cut_dropped_repeated_and_inserted(
    target: ModuleType, wanted: dict[str, bytes], good: bytes, one: float, other: float, kind: str, more: bytes
) -> None:
    first, second = sorted((int(one * len(good)), int(other * len(good))))
    middle = (first + second) // 2
    data = {
        "cut": good[:first],
        "drop": good[:first] + good[second:],
        "repeat": good[:second] + good[first:],
        "swap": good[:first] + good[middle:second] + good[first:middle] + good[second:],
        "insert": good[:first] + more + good[first:],
    }[kind]
    ending = check(target, data, wanted)
    assert ending != "ok" or data == good


@FUZZ
@given(st.permutations(range(len(MEMBERS))), st.lists(st.integers(0, len(MEMBERS) - 1), max_size=3), st.data())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_reordered_left_out_doubled_and_renamed(
    target: ModuleType, wanted: dict[str, bytes], order: list[int], doubled: list[int], data: st.DataObject
) -> None:
    entries = [MEMBERS[index] for index in [*order, *doubled]]
    for _ in range(data.draw(st.integers(0, 2))):
        index = data.draw(st.integers(0, len(entries) - 1))
        kind = data.draw(st.sampled_from(["drop", "name", "exchange"]))
        if kind == "drop" and len(entries) > 1:
            entries.pop(index)
        elif kind == "name":
            name = data.draw(
                st.sampled_from([*(name for name, _ in MEMBERS), "../x", "/x", "a/../../x", "x", "M.json"])
            )
            entries[index] = (name, entries[index][1])
        else:
            entries[index] = (entries[index][0], data.draw(st.sampled_from(MEMBERS))[1])
    check(target, packed(entries), wanted)


SIGNATURES: dict[str, Any] = json.loads(dict(MEMBERS)["signatures.json"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(SIGNATURES["payload"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@FUZZ
@given(st.sampled_from([*SIGNATURES, "surprise"]), ANY, st.permutations(SIGNATURES["signatures"]), st.integers(0, 4))
@example(key="signatures", value=[], order=SIGNATURES["signatures"], kept=4)
def test_signatures_with_anything_in_them(
    target: ModuleType, wanted: dict[str, bytes], key: str, value: object, order: list[Any], kept: int
) -> None:
    def ending(signatures: dict[str, Any]) -> str:
        entries = [(n, json.dumps(signatures).encode() if n == "signatures.json" else d) for n, d in MEMBERS]
        return check(target, packed(entries), wanted)

    ending({**SIGNATURES, key: value})
    fewer = ending({**SIGNATURES, "signatures": order[:kept]})
    assert (fewer == "ok") == (kept > 0), "each signature is good by itself"


@FUZZ
@given(st.data())
def test_a_forged_manifest_is_never_trusted(target: ModuleType, wanted: dict[str, bytes], data: st.DataObject) -> None:
    """Whatever the manifest says instead, and whatever of the envelope is made to fit it: nobody signed it."""
    import base64

    manifest = json.loads(dict(MEMBERS)["manifest.json"])
    key = data.draw(st.sampled_from(sorted(manifest)))
    manifest[key] = data.draw(ANY)
    forged = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    if forged == dict(MEMBERS)["manifest.json"]:
        return
    envelope = {**SIGNATURES, "payload": base64.b64encode(forged).decode()}
    changed = {"manifest.json": forged, "signatures.json": json.dumps(envelope).encode()}
    assert check(target, packed([(n, changed.get(n, d)) for n, d in MEMBERS]), wanted) == "bundle.bad-signature"


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_as_signatures(target: ModuleType, wanted: dict[str, bytes], data: bytes) -> None:
    ending = check(target, packed([(n, data if n == "signatures.json" else d) for n, d in MEMBERS]), wanted)
    assert ending == "bundle.bad-signatures-file"
