"""The manifest: what it accepts, what it refuses, and that nothing is guessed."""

from __future__ import annotations

import json

import msgspec
import pytest

import edgeai
from edgeai.api import BundleRejected, InstanceRef
from edgeai.bundle.manifest import (
    Eligibility,
    FrameUse,
    GoldenCase,
    Manifest,
    Tolerance,
    check_manifest,
    decode_manifest,
    digest_of,
    encode_manifest,
)

FILE = {"sha256": "0" * 64, "bytes": 3}
BODY = {
    "schema": 1,
    "name": "modality-guard",
    "version": "1.0.0",
    "release": 1,
    "min_edgeai": "0.1",
    "intended_use": "Tests.",
    "licence": "Apache-2.0",
    "plugins": ["transforms", "classify"],
    "task": {"name": "classify", "options": {"labels": ["a", "b"]}},
    "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 8, 8, 1], "layout": "NHWC"}],
    "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 2]}],
    "artifacts": [{"id": "tflite-fp32", "format": "tflite", "precision": "fp32", "path": "artifacts/m.tflite"}],
    "golden": [{"id": "one", "inputs": {"image": "golden/i.npy"}, "outputs": {"scores": "golden/o.npy"}}],
    "files": {"artifacts/m.tflite": FILE, "golden/i.npy": FILE, "golden/o.npy": FILE},
}


def body(**changes: object) -> bytes:
    return json.dumps({**BODY, **changes}).encode()


def refusal(data: bytes) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        decode_manifest(data)
    return caught.value


def test_a_manifest_survives_the_round_trip_and_is_canonical() -> None:
    manifest = decode_manifest(body())
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    assert data == encode_manifest(decode_manifest(json.dumps(json.loads(data), indent=4).encode()))
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() == data
    assert digest_of(data).startswith("sha256:")


def test_tensors_become_the_headers_specs() -> None:
    manifest = decode_manifest(body())
    (spec,) = manifest.input_specs()
    assert (spec.name, spec.dtype, spec.shape, spec.layout) == ("image", "float32", (1, 8, 8, 1), "NHWC")
    assert manifest.output_specs()[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"colour": "red"}, "bundle.unknown-key"),
        ({"task": {"name": "classify", "optoins": {}}}, "bundle.unknown-key"),
        ({"eligibility": {"modalities": ["CR"]}}, "bundle.unknown-key"),
        ({"schema": 3}, "bundle.unknown-schema"),
        ({"schema": 0}, "bundle.unknown-schema"),
        ({"schema": 3, "colour": "red"}, "bundle.unknown-schema"),
        ({"min_edgeai": "99.1"}, "bundle.needs-newer-edgeai"),
        ({"min_edgeai": "0.1.1", "colour": "red"}, "bundle.needs-newer-edgeai"),
        ({"min_edgeai": "soon"}, "bundle.invalid-manifest"),
        ({"schema": "1"}, "bundle.invalid-manifest"),
        ({"release": "1"}, "bundle.invalid-manifest"),
        ({"release": -1}, "bundle.invalid-manifest"),
        ({"name": "../x"}, "bundle.invalid-manifest"),
        ({"name": "x\n"}, "bundle.invalid-manifest"),
        ({"intended_use": ""}, "bundle.invalid-manifest"),
        ({"inputs": []}, "bundle.invalid-manifest"),
        ({"artifacts": []}, "bundle.invalid-manifest"),
        ({"artifacts": BODY["artifacts"] * 2}, "bundle.invalid-manifest"),
        ({"plugins": ["classify", "classify"]}, "bundle.invalid-manifest"),
        ({"inputs": [{"name": "image", "dtype": "complex64", "shape": [1]}]}, "bundle.invalid-manifest"),
        ({"inputs": [{"name": "image", "dtype": "uint8", "shape": [1, 0]}]}, "bundle.invalid-manifest"),
        ({"inputs": [{"name": "image", "dtype": "uint8", "shape": [1, 2], "layout": "N"}]}, "bundle.invalid-manifest"),
        ({"pixels": {"fast": ["blurred"]}}, "bundle.invalid-manifest"),
        ({"frames": {"select": "last"}}, "bundle.invalid-manifest"),
        ({"frames": {"every": 0}}, "bundle.invalid-manifest"),
        ({"files": {**BODY["files"], "x": {"sha256": "0" * 63, "bytes": 1}}}, "bundle.invalid-manifest"),
        ({"files": {"golden/i.npy": FILE, "golden/o.npy": FILE}}, "bundle.missing-file"),
        ({"files": {"artifacts/m.tflite": FILE}}, "bundle.missing-file"),
        ({"golden": [{"id": "one", "inputs": {"other": "golden/i.npy"}, "outputs": {}}]}, "bundle.invalid-manifest"),
        ({"golden": [{**BODY["golden"][0], "artifacts": {"int8": {}}}]}, "bundle.invalid-manifest"),
        ({"artifacts": [{**BODY["artifacts"][0], "path": "../m.tflite"}]}, "bundle.unsafe-path"),
    ],
)
def test_what_a_manifest_may_not_say(changes: dict[str, object], code: str) -> None:
    assert refusal(body(**changes)).code == code


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/", ".hidden", "a/.git/x", "a\\b", "C:/x", "a\0b"),
        *("ü", "a b", "a" * 201, "/".join("a" * 9), "manifest.json", "Manifest.JSON", "signatures.json"),
    ],
)
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    assert refusal(body(files={**BODY["files"], path: FILE})).code == "bundle.unsafe-path"


@pytest.mark.parametrize("path", ["Golden/i.npy", "golden/I.npy", "artifacts", "artifacts/m.tflite/x", "GOLDEN"])
def test_paths_that_one_file_system_would_confuse_are_refused(path: str) -> None:
    assert refusal(body(files={**BODY["files"], path: FILE})).code == "bundle.duplicate-path"


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"null", b"[]", b"{", b"\xff\xfe", b'\xef\xbb\xbf{"a":1}', b"[" * 100_000, b'{"a":' * 100_000),
        *(b'{"schema":1,"schema":1}', body().replace(b'"release": 1', b'"release": NaN'), body() + b"x"),
        *(body().replace(b'"Tests."', b'"\\ud800"'), b'{"schema":' + b"9" * 5000 + b"}"),
    ],
)
def test_bytes_that_are_no_manifest(data: bytes) -> None:
    assert refusal(data).code == "bundle.invalid-manifest"


def test_a_key_twice_is_refused_wherever_it_is() -> None:
    twice = body().replace(b'"golden/o.npy": {', b'"golden/i.npy": {"sha256": "", "bytes": 0}, "golden/o.npy": {')
    error = refusal(twice)
    assert error.code == "bundle.invalid-manifest"
    assert "golden/i.npy" in str(error)


def test_a_manifest_that_never_ends() -> None:
    assert refusal(b" " * (5 * 1024 * 1024)).code == "bundle.too-large"


def test_an_artifact_may_be_a_folder() -> None:
    manifest = decode_manifest(
        body(
            artifacts=[{"id": "sm", "format": "savedmodel", "precision": "fp32", "path": "artifacts/sm"}],
            files={**BODY["files"], "artifacts/sm/saved_model.pb": FILE},
        )
    )
    assert manifest.artifacts[0].path == "artifacts/sm"
    with pytest.raises(BundleRejected):
        check_manifest(msgspec.structs.replace(manifest, files={}))


def test_this_edgeai_reads_what_asks_for_this_edgeai() -> None:
    assert decode_manifest(body(min_edgeai=edgeai.__version__)).min_edgeai == edgeai.__version__


REF = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3", modality="CR", rows=100, columns=200)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Eligibility(), None),
        (Eligibility(modality=("DX", "cr")), None),
        (Eligibility(modality=("US",)), "modality is CR"),
        (Eligibility(body_part_examined=("CHEST",)), "body_part_examined is absent"),
        (Eligibility(sop_class_uid=("1.2",), min_rows=100), None),
        (Eligibility(sop_class_uid=("1.2.4",)), "sop_class_uid"),
        (Eligibility(min_rows=101), "rows is 100"),
        (Eligibility(min_columns=201), "columns is 200"),
    ],
)
def test_eligibility(wanted: Eligibility, says: str | None) -> None:
    why = wanted.why_not(REF)
    assert why is None if says is None else says in (why or "")


@pytest.mark.parametrize(("rows", "columns"), [(0, 100), (100, 0), (-1, 100)])
def test_no_rows_or_columns_are_no_small_image_but_a_broken_one(rows: int, columns: int) -> None:
    """It is to fail as one, with its own code; "not applicable" would say that it is sound."""
    broken = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3", rows=rows, columns=columns)
    assert Eligibility(min_rows=64, min_columns=64).why_not(broken) is None
    assert Eligibility(min_rows=64, min_columns=64, modality=("US",)).why_not(broken) is not None


@pytest.mark.parametrize(
    ("use", "of", "chosen"),
    [
        (FrameUse(), 3, (1, 2, 3)),
        (FrameUse(select="first"), 9, (1,)),
        (FrameUse(select="middle"), 9, (5,)),
        (FrameUse(select="middle"), 8, (4,)),
        (FrameUse(select="middle"), 1, (1,)),
        (FrameUse(every=4), 9, (1, 5, 9)),
        (FrameUse(max=3), 9, (1, 4, 7)),
        (FrameUse(max=3), 2, (1, 2)),
        (FrameUse(every=100), 9, (1,)),
    ],
)
def test_frame_selection(use: FrameUse, of: int, chosen: tuple[int, ...]) -> None:
    assert tuple(use.numbers(of)) == chosen


def test_an_absurd_number_of_frames_costs_nothing() -> None:
    assert len(FrameUse().numbers(2**31 - 1)) == 2**31 - 1


def test_a_tolerance_can_be_an_artifacts_own() -> None:
    case = GoldenCase(id="g", inputs={}, outputs={}, artifacts={"int8": Tolerance(absolute=0.1)})
    assert case.tolerance_for("int8").absolute == 0.1
    assert case.tolerance_for("fp32") == Tolerance()


def test_manifest_is_immutable() -> None:
    manifest = decode_manifest(body())
    with pytest.raises(AttributeError):
        manifest.version = "2"  # type: ignore[misc]
    assert isinstance(manifest, Manifest)
