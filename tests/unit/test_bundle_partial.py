"""A folder that holds some artifacts of a bundle: it says which, and what it says is held to."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.api import BackendUnavailable, BundleRejected
from edgeai.bundle.archive import list_files, pack
from edgeai.bundle.manifest import (
    ArtifactDecl,
    FileDecl,
    GoldenCase,
    TaskUse,
    TensorDecl,
    digest_of,
    encode_manifest,
)
from edgeai.bundle.partial import HELD_NAME, Held, absent_files, encode_held, own_files
from edgeai.bundle.reader import open_bundle, read_manifest, verify_again, verify_bundle
from edgeai.selection import Offer, Wish, choose, to_hold
from edgeai.testing.bundles import small_manifest

FILES = {
    "artifacts/lite/model.tflite": b"lite",
    "artifacts/ir/model.xml": b"<xml/>",
    "artifacts/ir/model.bin": b"weights",
    "artifacts/saved/saved_model.pb": b"graph",
    "artifacts/saved/variables/v.data": b"variables",
    "artifacts/shared.json": b"{}",
    "golden/one/x.npy": b"x",
    "golden/one/y.npy": b"y",
    "evidence.json": b"{}",
    "model.toml": b"card",
    "LICENSE": b"licence",
}
OWN = {
    "lite": {"artifacts/lite/model.tflite"},
    "ir": {"artifacts/ir/model.xml", "artifacts/ir/model.bin"},
    "saved": {"artifacts/saved/saved_model.pb", "artifacts/saved/variables/v.data"},
}
TENSOR = TensorDecl(name="x", dtype="float32", shape=(1, 2))
ARTIFACTS = (
    ArtifactDecl(id="lite", format="tflite", precision="fp32", path="artifacts/lite/model.tflite"),
    ArtifactDecl(id="ir", format="openvino", precision="fp16", path="artifacts/ir/model.xml"),
    ArtifactDecl(id="saved", format="savedmodel", precision="fp32", path="artifacts/saved"),
)
MANIFEST = small_manifest(
    task=TaskUse(name="fake"),
    inputs=(TENSOR,),
    outputs=(msgspec.structs.replace(TENSOR, name="y"),),
    artifacts=ARTIFACTS,
    golden=(GoldenCase(id="one", inputs={"x": "golden/one/x.npy"}, outputs={"y": "golden/one/y.npy"}),),
    files={name: FileDecl(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in FILES.items()},
)
DIGEST = digest_of(encode_manifest(MANIFEST))


def held(*ids: str, digest: str = DIGEST) -> Held:
    return Held(digest=digest, artifacts=ids)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundle, whole, as a folder."""
    root = tmp_path / "bundle"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "manifest.json").write_bytes(encode_manifest(MANIFEST))
    return root


def keep(root: Path, *ids: str) -> Path:
    """Take away what these artifacts do not need, and say so."""
    for name in absent_files(MANIFEST, held(*ids)):
        (root / name).unlink()
    (root / HELD_NAME).write_bytes(encode_held(held(*ids)))
    return root


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(BundleRejected) as caught:
        call()
    assert str(caught.value)
    return caught.value.code


# --- what belongs to what -----------------------------------------------------------------------------


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.id)
def test_an_artifact_has_its_path_what_lies_below_and_its_halves(artifact: ArtifactDecl) -> None:
    assert own_files(MANIFEST, artifact.path) == OWN[artifact.id]


def test_documents_of_a_bundle_are_no_halves_of_a_model_that_lies_in_no_folder() -> None:
    files = {"model.tflite": MANIFEST.files["LICENSE"], "model.toml": MANIFEST.files["model.toml"]}
    assert own_files(msgspec.structs.replace(MANIFEST, files=files), "model.tflite") == {"model.tflite"}


@pytest.mark.parametrize("names", [("artifacts/m-1", "artifacts/m-1.5"), ("artifacts/m-1.5", "artifacts/m-1")])
def test_folders_with_points_in_their_names_are_not_taken_for_halves(names: tuple[str, str]) -> None:
    one, other = names
    files = {f"{one}/a": MANIFEST.files["LICENSE"], f"{other}/a": MANIFEST.files["LICENSE"]}
    assert own_files(msgspec.structs.replace(MANIFEST, files=files), one) == {f"{one}/a"}


def test_what_is_absent_are_whole_artifacts_and_nothing_that_another_needs() -> None:
    assert absent_files(MANIFEST, None) == frozenset()
    assert absent_files(MANIFEST, held("lite", "ir", "saved")) == frozenset()
    assert absent_files(MANIFEST, held("lite")) == OWN["ir"] | OWN["saved"]
    twin = ArtifactDecl(id="twin", format="other", precision="fp16", path="artifacts/ir/model.bin")
    twins = msgspec.structs.replace(MANIFEST, artifacts=(*ARTIFACTS, twin))
    assert absent_files(twins, held("twin")) == OWN["lite"] | OWN["saved"], "two artifacts, the same files"
    golden = GoldenCase(id="odd", inputs={"x": "artifacts/ir/model.bin"}, outputs={"y": "golden/one/y.npy"})
    odd = msgspec.structs.replace(MANIFEST, golden=(golden,), evidence="artifacts/saved/saved_model.pb")
    assert absent_files(odd, held("lite")) == {"artifacts/ir/model.xml", "artifacts/saved/variables/v.data"}


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [("lite",), ("ir",), ("saved", "lite"), ("lite", "ir", "saved")])
def test_a_folder_that_says_what_it_holds_is_opened(folder: Path, ids: tuple[str, ...]) -> None:
    bundle = open_bundle(keep(folder, *ids))
    assert bundle.digest == DIGEST, "the same model, wherever how much of it lies"
    assert {artifact.id for artifact in bundle.artifacts} == set(ids)
    assert set(bundle.absent) == {"lite", "ir", "saved"} - set(ids)
    assert read_manifest(folder)[1] == DIGEST
    assert set(verify_bundle(folder).absent) == set(bundle.absent)
    verify_again(bundle)


def test_a_folder_that_says_nothing_is_whole(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert (bundle.artifacts, bundle.absent, bundle.held) == (ARTIFACTS, (), None)
    keep(folder, "lite")
    (folder / HELD_NAME).unlink()
    assert code_of(lambda: open_bundle(folder)) == "bundle.missing-file"


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_that_is_held_must_be_there_and_sound_and_no_other(folder: Path, name: str) -> None:
    whole = {name: (folder / name).read_bytes() for name in FILES}
    keep(folder, "ir")
    path = folder / name
    if path.exists():
        path.write_bytes(whole[name][::-1] + b"")
        same = whole[name][::-1] == whole[name]
        assert same or code_of(lambda: open_bundle(folder)) == "bundle.wrong-hash"
        path.write_bytes(whole[name] + b"more")
        assert code_of(lambda: open_bundle(folder)) == "bundle.wrong-size"
        path.unlink()
        assert code_of(lambda: open_bundle(folder)) == "bundle.missing-file"
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole[name])
        assert code_of(lambda: open_bundle(folder)) == "bundle.extra-file"


@pytest.mark.parametrize("name", [".held.json.bak", "artifacts/.held.json", "x"])
def test_the_record_lets_nothing_else_in(folder: Path, name: str) -> None:
    keep(folder, "lite")
    (folder / name).write_bytes(b"")
    assert code_of(lambda: open_bundle(folder)) == "bundle.extra-file"


SOUND = {"schema": 1, "digest": DIGEST, "artifacts": ["lite"]}
BAD: list[Any] = [
    b"",
    b"{",
    b"[]",
    b'{"schema":1,"schema":1}',
    b'{"schema":1,"artifacts":' + b"[" * 100_000,
    {},
    {**SOUND, "schema": 2},
    {**SOUND, "more": 1},
    {**SOUND, "digest": "sha256:" + "0" * 64},
    {**SOUND, "artifacts": []},
    {**SOUND, "artifacts": ["lite", "lite"]},
    {**SOUND, "artifacts": ["other"]},
    {**SOUND, "artifacts": "lite"},
    {**SOUND, "guard": ["lite"]},
    b" " * (1 << 20) + json.dumps(SOUND).encode(),
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_a_record_that_is_none_is_refused(folder: Path, body: Any) -> None:
    keep(folder, "lite")
    (folder / HELD_NAME).write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert code_of(lambda: open_bundle(folder)) == "bundle.bad-held-file"


def test_a_record_that_is_a_link_or_a_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    keep(folder, "lite")
    (folder / HELD_NAME).rename(tmp_path / "elsewhere")
    (folder / HELD_NAME).symlink_to(tmp_path / "elsewhere")
    assert code_of(lambda: open_bundle(folder)) == "bundle.link"
    (folder / HELD_NAME).unlink()
    (folder / HELD_NAME).mkdir()
    assert code_of(lambda: open_bundle(folder)) == "bundle.bad-held-file"


def test_a_folder_that_holds_other_artifacts_than_before_is_another(folder: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(folder, tmp_path / "whole")
    bundle = open_bundle(keep(folder, "lite"))
    for name in OWN["ir"]:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(whole / name, folder / name)
    (folder / HELD_NAME).write_bytes(encode_held(held("lite", "ir")))
    assert code_of(lambda: verify_again(bundle)) == "bundle.wrong-hash"


# --- an archive is whole ------------------------------------------------------------------------------


def test_no_archive_is_made_of_a_part(folder: Path, tmp_path: Path) -> None:
    keep(folder, "lite")
    (folder / "manifest.json").unlink()
    assert code_of(lambda: pack(folder, MANIFEST, tmp_path / "part.edgeai")) in (
        "bundle.missing-file",
        "bundle.unsafe-path",
    )
    assert not (tmp_path / "part.edgeai").exists()


def test_what_was_unpacked_and_says_that_it_is_a_part_is_unpacked_anew(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").unlink()
    pack(folder, MANIFEST, tmp_path / "whole.edgeai")
    first = open_bundle(tmp_path / "whole.edgeai", cache_dir=tmp_path / "cache")
    keep(first.root, "lite")
    again = open_bundle(tmp_path / "whole.edgeai", cache_dir=tmp_path / "cache")
    assert again.absent == ()
    assert set(list_files(again.root)) == {*FILES, "manifest.json"}


# --- choosing -----------------------------------------------------------------------------------------

LITE = Offer(backend="tflite", artifact_format="tflite", devices=("CPU",), engine="lite 1", rank=10)
IR = Offer(backend="openvino", artifact_format="openvino", devices=("GPU", "CPU"), engine="ov 1", rank=20)
SAVED = Offer(backend="gpu", artifact_format="savedmodel", devices=("GPU",), engine="tf 1", rank=30)
OFFERS = (SAVED, IR, LITE)


def test_what_is_not_fetched_is_passed_over_aloud() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="openvino"), Wish(backend="tflite")], absent=["ir", "saved"])
    assert choice.taken.artifact == "lite"
    assert choice.degraded is not None
    assert choice.degraded.because == ("openvino: not fetched: ir",)
    plain = choose(OFFERS, ARTIFACTS, [Wish(backend="tflite"), Wish(backend="openvino")], absent=["ir", "saved"])
    assert plain.degraded is None
    assert "openvino: not fetched: ir" in plain.why_not()
    assert "artifact saved: not fetched" in plain.why_not(), "and so is what nobody wished for"
    assert not [why for why in plain.why_not() if "artifact ir" in why], "once"


def test_another_artifact_for_the_same_engine_is_told_by_itself() -> None:
    twice = (*ARTIFACTS, ArtifactDecl(id="lite8", format="tflite", precision="int8", path="x"))
    second = choose(OFFERS, twice, [Wish(backend="tflite")], absent=["lite8"])
    assert (second.taken.artifact, second.degraded) == ("lite", None)
    assert "tflite on CPU with lite8: not fetched" in second.why_not()
    first = choose(OFFERS, twice, [Wish(backend="tflite")], absent=["lite"])
    assert first.taken.artifact == "lite8"
    assert first.degraded is not None
    assert first.degraded.because == ("tflite on CPU with lite: not fetched",)


def test_where_nothing_that_is_held_can_run_the_remedy_is_to_fetch() -> None:
    with pytest.raises(BackendUnavailable) as caught:
        choose((IR,), ARTIFACTS, absent=["ir", "saved"])
    assert caught.value.code == "backend.no-candidate"
    assert "not fetched: ir" in str(caught.value)
    assert "fetch" in (caught.value.remedy or "")
    with pytest.raises(BackendUnavailable) as caught:
        choose((), ARTIFACTS, absent=[])
    assert "fetch" not in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("wishes", "every", "ids"),
    [
        ([], False, ("lite", "ir")),
        ([Wish(backend="gpu"), Wish(backend="openvino"), Wish(backend="tflite")], False, ("saved", "ir")),
        ([Wish(backend="openvino")], False, ("ir",)),
        ([], True, ("lite", "ir", "saved")),
    ],
)
def test_a_device_holds_what_it_would_take_and_its_fallback(
    wishes: list[Wish], every: bool, ids: tuple[str, ...]
) -> None:
    assert to_hold(choose(OFFERS, ARTIFACTS, wishes), every=every) == ids
