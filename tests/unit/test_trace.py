"""From a result back to what its model was made of: every link of a real bundle holds, and each can break."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.api.results import (
    Attachment,
    Concept,
    Degradation,
    EngineRef,
    Finding,
    GuardFigure,
    InstanceIds,
    Measurement,
    ModelRef,
    Note,
    Outcome,
    Region,
    Result,
    SignerRef,
)
from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.keys import KeyPair, make_keys
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.cli.main import run
from edgeai.model.results import result_id
from edgeai.testing.repository import OpsTeam

ROOT = Path(__file__).resolve().parents[2]
REAL = next((ROOT / "models/us-head").glob("*.edgeai"))
HEAD = Concept(code="69536005", scheme="SCT", meaning="Head")
NO_SUCH_ARTIFACT = EngineRef(backend="any", engine="any", device="CPU", artifact="none", precision="fp32")
Traced = tuple[int, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("real") / "us-head"
    with Archive(REAL) as archive:
        archive.unpack(folder)
        return folder, archive.manifest


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, KeyPair]:
    """The real bundle, and the key that signed it."""
    pair = make_keys("clinic", tmp_path / "keys")
    bundle = tmp_path / "bundles/us-head.edgeai"
    bundle.parent.mkdir()
    bundle.write_bytes(REAL.read_bytes())
    sign_bundle(bundle, signer_of(str(pair.private), lambda what: ""))
    return bundle, pair


def result_of(bundle: Path, *signers: KeyPair, **changes: Any) -> Result:
    with Archive(bundle) as archive:
        manifest, digest = archive.manifest, archive.digest
    artifact = manifest.artifacts[0]
    named = tuple(SignerRef(name=pair.public.name, key_id=pair.public.key_id) for pair in signers)
    ids = InstanceIds(
        sop_class_uid="1.2",
        sop_instance_uid="1.2.3",
        series_instance_uid="1",
        study_instance_uid="1",
        content="sha256:c",
    )
    result = Result(
        result_id=result_id("1.2.3", digest, "head", "sha256:c"),
        deployment="head",
        outcome=Outcome.COMPLETED,
        model=ModelRef(name=manifest.name, version=manifest.version, digest=digest, signers=named),
        instance=ids,
        created_at="2026-11-30T00:00:00.000Z",
        edgeai_version="0.1.0",
        findings=(Finding(kind="segment", label="head", present=True, concept=HEAD),),
        engine=EngineRef(
            backend=artifact.format, engine="any 1", device="CPU", artifact=artifact.id, precision=artifact.precision
        ),
    )
    return replace(result, **changes)


@pytest.fixture
def trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Traced]:
    """Exit status, and each link by its name."""

    def tracing(result: Result, *words: object) -> Traced:
        saved = tmp_path / "result.json"
        saved.write_text(json.dumps(result.as_dict()))
        status = run(["trace", str(saved), "--json", *map(str, words)])
        printed = capfd.readouterr()
        assert printed.out, printed.err
        body = json.loads(printed.out)
        assert body["whole"] == (status == 0)
        return status, {link["link"]: link for link in body["links"]}

    return tracing


def test_every_link_of_a_reference_model_holds(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    status, links = trace(result_of(bundle, pair), "--look", bundle.parent, "--trust", pair.public.path)
    assert {name: link["state"] for name, link in links.items()} == dict.fromkeys(
        ("result", "bundle", "engine", "findings", "signers", "card", "evidence", "data", "build"), "holds"
    )
    assert status == 0
    assert links["signers"]["facts"]["signatures"] == {pair.public.key_id: "good"}
    assert links["data"]["facts"]["data"]["hc18"].startswith("sha256:")
    assert set(links["data"]["facts"]["splits"]) == {"validation", "test"}
    assert links["build"]["facts"]["distributions"]["keras"]
    assert links["build"]["facts"]["training"]


def test_what_another_deployment_was_required_to_say_is_told_with_its_result_missing(
    trace: Any, signed: tuple[Path, KeyPair]
) -> None:
    bundle, pair = signed
    figures = [
        GuardFigure(check="requires", name="view class:frontal", value=value, threshold=0.9, withheld=value < 0.9)
        for value in (0.97, 0.25)
    ]
    for figure, words in zip(figures, ("as the cart's profile requires", "the model was not asked"), strict=True):
        status, links = trace(result_of(bundle, pair, guard=(figure,)), "--bundle", bundle)
        link = links["requires"]
        assert (status, link["state"], link["missing"]) == (0, "missing", ["the result of view"])
        assert f"view said {figure.value:g} of class:frontal, 0.9 or more is required" in link["says"]
        assert words in link["says"]


def test_what_is_missing_is_named_and_breaks_nothing(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    status, links = trace(result_of(bundle, pair), "--bundle", bundle)  # nobody gave a key
    assert (status, links["signers"]["state"]) == (0, "missing")
    assert links["signers"]["missing"] == ["public keys to hold the signatures to"]
    old = next((ROOT / "tests/golden/bundles").glob("real-1.edgeai"))  # packed before there was evidence
    findings = (Finding(kind="class", label="normal", present=True),)
    status, links = trace(result_of(old, findings=findings), "--bundle", old)
    assert (status, links["evidence"]["missing"]) == (0, ["evidence.json"])
    assert links["findings"]["missing"] == ["the code of normal in the result"]
    assert links["signers"]["missing"] == ["a signer: the device asked for none"]


def test_a_cart_and_a_repository_are_looked_in(trace: Any, tmp_path: Path, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    slot = tmp_path / "var/slots/head/a"
    slot.parent.mkdir(parents=True)
    with Archive(bundle) as archive:
        archive.unpack(slot)
    profile = tmp_path / "profile.toml"
    profile.write_text('[device]\nid = "cart"\nsite = "lab"\ndata_dir = "var"\n[trust]\nkeys = "keys"\n')
    (tmp_path / "keys/clinic.key").unlink()  # a private key makes a folder of no use
    status, links = trace(result_of(bundle, pair), "--profile", profile)
    assert (status, links["bundle"]["facts"]["path"], links["signers"]["state"]) == (0, str(slot), "holds")
    model = (slot / "manifest.json").read_bytes()
    (slot / "manifest.json").write_bytes(model.replace(b"Outlines", b"Outlined"))
    assert trace(result_of(bundle, pair), "--profile", profile)[1]["bundle"]["code"] == "trace.no-bundle"


def test_a_repositorys_folder_gives_the_bundle_from_its_contents(trace: Any, tmp_path: Path) -> None:
    team = OpsTeam(tmp_path / "ops")
    team.begin()
    bundle = team.bundle()
    team.offer(bundle)
    findings = (Finding(kind="class", label="bright", present=True),)
    status, links = trace(result_of(bundle, findings=findings), "--look", team.repo)
    assert (status, links["bundle"]["state"], links["bundle"]["facts"]["path"]) == (0, "holds", "a repository")
    for blob in (team.public / "blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    status, links = trace(result_of(bundle), "--look", team.public)
    assert (status, links["bundle"]["code"]) == (1, "bundle.wrong-hash")
    for blob in (team.public / "blobs/sha256").iterdir():
        blob.unlink()
    assert trace(result_of(bundle), "--look", team.public)[1]["bundle"]["code"] == "bundle.missing-file"


@pytest.mark.parametrize(
    ("file", "old", "new", "link", "code"),
    [
        ("model.toml", f'version = "{REAL.stem.rsplit("-", 1)[1]}"', 'version = "9.9.9"', "card", "trace.card"),
        ("model.toml", "Outlines the fetal head", "Outlines any head", "card", "trace.card"),
        ("model.toml", "schema = 1", "schema = ", "card", "trace.card"),
        ("model.toml", 'model_digest = "sha256:6327', 'model_digest = "sha256:7327', "evidence", "trace.evidence"),
        ("model.toml", 'model_digest = "sha256:6327', 'model_digest = "sha256:7327', "build", "trace.build"),
        ("model.toml", 'digest = "sha256:e4e6', 'digest = "sha256:f4e6', "data", "trace.data"),
        ("evidence.json", '"model": "us-head"', '"model": "us-tail"', "evidence", "trace.evidence"),
        ("evidence.json", '"digest": "sha256:e5a9', '"digest": "sha256:f5a9', "evidence", "trace.evidence"),
        ("evidence.json", '"schema": 1', '"schema": "one"', "evidence", "trace.evidence"),
        (
            "sbom.cdx.json",
            '"edgeai:keras","value":"sha256:',
            '"edgeai:keras","value":"sha256:0',
            "build",
            "trace.build",
        ),
        ("sbom.cdx.json", '"CycloneDX"', '"SPDX"', "build", "trace.build"),
    ],
)
def test_documents_that_speak_of_something_else_break_their_link(
    trace: Any, tmp_path: Path, unpacked: tuple[Path, Manifest], file: str, old: str, new: str, link: str, code: str
) -> None:
    folder, manifest = unpacked
    text = (folder / file).read_text()
    assert old in text
    out = tmp_path / "changed.edgeai"
    try:
        (folder / file).write_text(text.replace(old, new))
        pack(folder, manifest, out)
    finally:
        (folder / file).write_text(text)
    status, links = trace(result_of(out), "--bundle", out)
    assert (status, links[link]["state"], links[link]["code"]) == (1, "broken", code)


def test_an_artifact_that_was_not_measured_is_told(trace: Any, tmp_path: Path, unpacked: tuple[Path, Manifest]) -> None:
    folder, manifest = unpacked
    model = folder / "artifacts/student-tflite-int8/model.tflite"
    before, out = model.read_bytes(), tmp_path / "changed.edgeai"
    try:
        model.write_bytes(before[:-1] + b"?")
        pack(folder, manifest, out)
    finally:
        model.write_bytes(before)
    status, links = trace(result_of(out), "--bundle", out)
    assert (status, links["evidence"]["code"]) == (1, "trace.evidence")
    assert "student-tflite-int8 are of another artifact" in links["evidence"]["says"]


@pytest.mark.parametrize(
    ("changes", "link", "code"),
    [
        ({"deployment": "other"}, "result", "trace.result-id"),
        ({"result_id": "4f8828ee-fb0d-8b9d-90d2-a572f4f1f362"}, "result", "trace.result-id"),
        ({"engine": NO_SUCH_ARTIFACT}, "engine", "trace.artifact"),
    ],
)
def test_a_result_that_was_changed_is_seen(
    trace: Any, signed: tuple[Path, KeyPair], changes: dict[str, Any], link: str, code: str
) -> None:
    bundle, pair = signed
    status, links = trace(result_of(bundle, pair, **changes), "--bundle", bundle)
    assert (status, links[link]["code"]) == (1, code)


def test_a_backend_that_reads_no_such_artifact_is_seen(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    engine = result_of(bundle).engine
    assert engine is not None
    assert engine.backend == "tflite"
    for backend, expected in (("openvino", "trace.artifact"), ("acme-npu", None)):
        changed = replace(engine, backend=backend)
        status, links = trace(result_of(bundle, pair, engine=changed), "--bundle", bundle)
        assert (status, links["engine"]["code"]) == (1 if expected else 0, expected)
    assert links["engine"]["missing"] == [
        "figures of student-tflite-int8 on acme-npu, which is not installed here either"
    ]


@pytest.mark.parametrize("options", [{"labels": [{"label": "head", "threshold": 0.4}]}, {"thresholds": {"head": 0.4}}])
def test_a_threshold_is_held_to_the_one_of_the_manifest(
    trace: Any, tmp_path: Path, unpacked: tuple[Path, Manifest], options: dict[str, Any]
) -> None:
    folder, manifest = unpacked
    use = msgspec.structs.replace(manifest.task, options={**manifest.task.options, **options})
    out = tmp_path / "changed.edgeai"
    pack(folder, msgspec.structs.replace(manifest, task=use), out)
    (plain,) = result_of(out).findings
    at = replace(plain, concept=None, threshold=0.4, frame_number=1)
    status, links = trace(result_of(out, findings=(at,)), "--bundle", out)
    assert (status, links["findings"]["code"]) == (0, None)
    status, links = trace(result_of(out, findings=(replace(at, threshold=0.5),)), "--bundle", out)
    assert (status, links["findings"]["code"]) == (1, "trace.findings")
    assert links["findings"]["says"] == "head was decided by the threshold 0.5, in the manifest it is 0.4"
    summed_up = replace(at, threshold=0.5, frame_number=None)
    status, links = trace(result_of(out, findings=(summed_up,)), "--bundle", out)
    assert (status, "whether head was decided by 0.5" in str(links["findings"]["missing"])) == (0, True)


def test_an_image_that_was_done_again_keeps_its_first_id(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    other = result_of(bundle, pair, result_id="4f8828ee-fb0d-8b9d-90d2-a572f4f1f362", attempt=2)
    status, links = trace(other, "--bundle", bundle)
    assert (status, links["result"]["state"]) == (0, "missing")


def test_a_code_or_label_that_is_not_the_bundles_is_seen(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, _ = signed
    (finding,) = result_of(bundle).findings
    codes = (replace(HEAD, code="17621005"), replace(HEAD, scheme="RADLEX"), replace(HEAD, meaning="Normal"))
    for code in codes:
        status, links = trace(result_of(bundle, findings=(replace(finding, concept=code),)), "--bundle", bundle)
        assert (status, links["findings"]["code"]) == (1, "trace.findings")
        assert "in the manifest it has SCT 69536005 (Head)" in links["findings"]["says"]
    status, links = trace(result_of(bundle, findings=(replace(finding, label="tail"),)), "--bundle", bundle)
    assert (status, links["findings"]["says"]) == (1, "tail is none of its labels (head)")
    status, links = trace(result_of(bundle, findings=(replace(finding, concept=None),)), "--bundle", bundle)
    assert (status, links["findings"]["missing"]) == (0, ["the code of head in the result"])


def test_a_name_that_is_not_the_bundles_is_seen(trace: Any, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    result = result_of(bundle, pair)
    changed = replace(result, model=replace(result.model, version="9.9.9"))
    status, links = trace(changed, "--bundle", bundle)
    assert (status, links["bundle"]["code"]) == (1, "trace.other-bundle")


def test_a_signer_that_did_not_sign_is_seen(trace: Any, tmp_path: Path, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    stranger = make_keys("stranger", tmp_path / "others")
    status, links = trace(result_of(bundle, pair, stranger), "--bundle", bundle, "--trust", pair.public.path)
    assert (status, links["signers"]["code"]) == (1, "trace.signers")
    folder = tmp_path / "folder"
    with Archive(bundle) as archive:
        archive.unpack(folder)
    envelope = json.loads((folder / "signatures.json").read_text())
    sig = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("A" if sig[0] != "A" else "B") + sig[1:]
    (folder / "signatures.json").write_text(json.dumps(envelope))
    status, links = trace(result_of(bundle, pair), "--bundle", folder, "--trust", pair.public.path)
    assert (status, links["signers"]["code"]) == (1, "bundle.bad-signature")


def test_a_damaged_bundle_ends_the_way_with_its_code(trace: Any, tmp_path: Path, signed: tuple[Path, KeyPair]) -> None:
    bundle, pair = signed
    folder = tmp_path / "folder"
    with Archive(bundle) as archive:
        archive.unpack(folder)
    (folder / "model.toml").write_text((folder / "model.toml").read_text().replace("fetal", "foetal")[:-1])
    status, links = trace(result_of(bundle, pair), "--look", tmp_path / "folder")
    assert (status, links["bundle"]["code"], list(links)) == (1, "bundle.wrong-size", ["result", "bundle"])


def test_what_is_no_result_or_another_bundle_is_refused(
    tmp_path: Path, signed: tuple[Path, KeyPair], capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, pair = signed
    saved = tmp_path / "r.json"
    first = json.dumps(result_of(bundle, pair).as_dict())
    second = json.dumps(result_of(bundle, pair, result_id="4f8828ee-fb0d-8b9d-90d2-a572f4f1f362").as_dict())
    for text in (
        "",
        "[]",
        "{}",
        '{"schema": 9}',
        "no JSON",
        f"{first}\n{second}\n",
        first.replace("completed", "done"),
    ):
        saved.write_text(text)
        assert run(["trace", str(saved), "--bundle", str(bundle)]) == 2
        assert "trace.no-result" in capfd.readouterr().err
    saved.write_text(f"{first}\n{second}\n")
    wanted = json.loads(first)["result_id"]
    assert run(["trace", str(saved), "--bundle", str(bundle), "--result", wanted]) == 0
    assert f"{' '.join(REAL.stem.rsplit('-', 1))} said completed" in capfd.readouterr().out
    assert run(["trace", str(tmp_path / "none.json")]) == 2
    saved.write_text(first)
    other = ROOT / "tests/golden/bundles/real-1.edgeai"
    assert run(["trace", str(saved), "--bundle", str(other)]) == 2
    assert "trace.other-bundle" in capfd.readouterr().err


def test_no_words_of_a_result_steer_a_terminal_or_speak_of_our_code(
    tmp_path: Path, signed: tuple[Path, KeyPair], capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = signed
    body = result_of(bundle).as_dict()
    saved = tmp_path / "r.json"
    for changes in ({"created_at": "\x1b[2Jnow"}, {"model": {**body["model"], "version": "[red]\x1b]0;x\x07"}}):
        saved.write_text(json.dumps({**body, **changes}))
        run(["trace", str(saved), "--bundle", str(bundle)])
        printed = capfd.readouterr()
        assert "\x1b" not in printed.out + printed.err
        assert "us-head" in printed.out
    for part in ({"reason": {}}, {"findings": 7}, {"model": []}, {"instance": None}, {"findings": [[]]}):
        saved.write_text(json.dumps({**body, **part}))
        assert run(["trace", str(saved), "--bundle", str(bundle)]) == 2
        error = capfd.readouterr().err
        assert "error[trace.no-result]" in error
        assert not any(word in error for word in ("__init__", "attribute", "object", "argument", "subscript")), error


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where each end of an object is, and what it is."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if value and not isinstance(value, (str, int, float)):
        for step, each in inner:
            yield from leaves(each, (*at, step))
    else:
        yield at, value


def other(value: Any) -> Any:
    """Something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"completed": "done", "class": "segment"}.get(value, f"{value[:-1]}{'1' if value[-1:] != '1' else '2'}")
    return value + 1 if isinstance(value, (int, float)) else [] if value is None else ["else"]


def whole_result(bundle: Path, pair: KeyPair) -> dict[str, Any]:
    """A result that says something in every field, as a cart sends it."""
    finding = Finding(
        kind="segment",
        label="head",
        present=True,
        probability=0.9,
        threshold=0.5,
        concept=HEAD,
        frame_number=1,
        region=Region(area_px=10.0, box=(1.0, 2.0, 3.0, 4.0), contours=(((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)),)),
        measurements=(Measurement(name="around", value=250.0, unit="mm", interval=(249.0, 251.0), concept=HEAD),),
        codes=(HEAD,),
        notes=(Note(code="a.note", text="of this finding"),),
    )
    result = result_of(
        bundle,
        pair,
        findings=(finding,),
        notes=(Note(code="a.note", text="a sentence"),),
        guard=(GuardFigure(check="content", name="share", value=0.1, threshold=0.2),),
        attachments=(Attachment(digest="sha256:0", name="a", media_type="image/png", size_bytes=1),),
        frames_total=1,
        frames_run=1,
        degraded=Degradation(wished="other", because=("it is absent",)),
        timings_ms={"total": 1.0},
    )
    return {**result.as_dict(), "site": "lab", "device_id": "cart", "what a later edgeai says": 1}


def test_each_edit_of_a_result_is_seen_or_its_field_is_named_as_not_covered(
    tmp_path: Path, signed: tuple[Path, KeyPair], capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, pair = signed
    body, saved = whole_result(bundle, pair), tmp_path / "result.json"
    words = ["trace", str(saved), "--bundle", str(bundle), "--trust", str(pair.public.path), "--json"]
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for at, value in leaves(body):
        edited = place = json.loads(json.dumps(body))
        for step in at[:-1]:
            place = place[step]
        place[at[-1]] = other(value)
        saved.write_text(json.dumps(edited))
        status, printed = run(words), capfd.readouterr()
        name = ".".join(step for step in at if isinstance(step, str))
        if status == 0:
            told = json.loads(printed.out)["not_covered"]
            assert name in (*told["but_by_replay"], *told["at_all"]), name
        seen[status != 0].add(name)
    assert seen[True] >= {
        "result_id", "deployment", "model.name", "model.version", "model.digest", "model.signers.key_id",
        "instance.sop_instance_uid", "instance.content", "engine.artifact", "engine.precision",
        "findings.label", "findings.concept.code", "findings.concept.scheme", "findings.concept.meaning",
    }  # fmt: skip
    saved.write_text(json.dumps(body))
    assert run([*words[:-1]]) == 0
    printed = " ".join(capfd.readouterr().out.split())
    assert "Not covered here, but by `edgeai replay`: outcome, instance.sop_class_uid" in printed
    assert "findings.threshold, findings.frame_number, findings.region, findings.measurements" in printed
    assert "Covered by neither: schema, model.signers.name, created_at, edgeai_version, attempt" in printed
