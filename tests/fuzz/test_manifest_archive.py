"""Foreign bytes: whatever they are, a bundle reader answers with a bundle or a ``BundleRejected``."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeai.api import BundleRejected
from edgeai.bundle.archive import pack
from edgeai.bundle.honour import not_honoured
from edgeai.bundle.manifest import ArtifactDecl, TaskUse, TensorDecl, decode_manifest, encode_manifest
from edgeai.bundle.reader import open_bundle
from edgeai.testing.bundles import small_manifest

T = TypeVar("T")
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundles"

MANIFEST = small_manifest(
    plugins=("transforms",),
    task=TaskUse(name="classify"),
    inputs=(TensorDecl(name="image", dtype="float32", shape=(1, 2)),),
    outputs=(TensorDecl(name="scores", dtype="float32", shape=(1, 2)),),
    artifacts=(ArtifactDecl(id="a", format="tflite", precision="fp32", path="m.tflite"),),
)
WEIGHTS = b"0123456789" * 20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
EXAMPLES = int(os.environ.get("EDGEAI_TORTURE_EXAMPLES", "50"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def packed() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "content").mkdir()
        (folder / "content" / "m.tflite").write_bytes(WEIGHTS)
        pack(folder / "content", MANIFEST, folder / "tiny.edgeai")
        return (folder / "tiny.edgeai").read_bytes()


PACKED = packed()
DOCUMENT = json.loads(encode_manifest(MANIFEST))
SECOND = json.loads(encode_manifest(msgspec.structs.replace(MANIFEST, schema=2)))
WITH_USES = json.loads(zipfile.ZipFile(GOLDEN / "uses-2.edgeai").read("manifest.json"))
PLACES = [key for key in WITH_USES if key not in DOCUMENT]
INNER = [(key, name) for key in PLACES if isinstance(WITH_USES[key], dict) for name in WITH_USES[key]]


def attempt(act: Callable[[], T]) -> T | str:
    """What it returns, or the code that it is refused with; any other exception is the test's failure."""
    try:
        return act()
    except BundleRejected as error:
        return f"{error.code}: {error}"


def reads(data: bytes) -> None:
    """Opens as exactly what was packed, or is refused with a code of its area."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.edgeai"
        path.write_bytes(data)
        bundle = attempt(lambda: open_bundle(path, cache_dir=Path(name) / "cache"))
        if isinstance(bundle, str):
            assert bundle.startswith("bundle.")
        else:
            assert bundle.path("m.tflite").read_bytes() == WEIGHTS
            assert {path.name for path in bundle.root.rglob("*")} == {"manifest.json", "m.tflite"}


def answers(document: dict[str, object]) -> None:
    """Reads as what it says again when it is written, or is refused with a code of its area."""
    answer = attempt(lambda: decode_manifest(json.dumps(document).encode()))
    if isinstance(answer, str):
        assert answer.startswith("bundle.")
    else:
        assert decode_manifest(encode_manifest(answer)) == answer
        not_honoured(answer)  # whatever was read can be judged


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_as_a_manifest(data: bytes) -> None:
    answer = attempt(lambda: decode_manifest(data))
    assert isinstance(answer, str)
    assert answer.startswith("bundle.")


@FUZZ
@given(st.sampled_from([*DOCUMENT, "surprise"]), JSON)
def test_a_manifest_with_any_value_anywhere(key: str, value: object) -> None:
    answers({**DOCUMENT, key: value})


@FUZZ
@given(st.sampled_from([*SECOND, "surprise"]), JSON, st.booleans())
def test_a_manifest_of_schema_2_with_any_value_anywhere(key: str, value: object, with_uses: bool) -> None:
    answers({**(WITH_USES if with_uses else SECOND), key: value})


@FUZZ
@given(st.sampled_from(INNER), JSON | st.sampled_from(sorted(WITH_USES["files"])))
def test_uses_with_any_value_inside(place: tuple[str, str], value: object) -> None:
    key, name = place
    answers({**WITH_USES, key: {**WITH_USES[key], name: value}})


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_as_an_archive(data: bytes) -> None:
    reads(data)
    reads(b"PK\x03\x04" + data)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(PACKED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_an_archive_with_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(PACKED)
    for at, value in changes:
        data[at] = value
    reads(bytes(data))


@FUZZ
@given(st.integers(0, len(PACKED)), st.binary(max_size=64), st.integers(0, 64))
def test_an_archive_with_bytes_cut_out_or_put_in(at: int, inserted: bytes, removed: int) -> None:
    reads(PACKED[:at] + inserted + PACKED[at + removed :])
