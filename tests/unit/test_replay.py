"""The image of a result again: the same answer, where it differs, and what is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.heat import Heat
from edgeai.api.results import Finding, Measurement, Outcome, Region, Result
from edgeai.bundle.manifest import Tolerance
from edgeai.cli.main import run
from edgeai.dicom.content import ContentDigest
from edgeai.dicom.header import read_header
from edgeai.model.again import compare
from edgeai.model.results import result_id
from edgeai.privacy import UidMask

Case = tuple[Path, Path, dict[str, Any]]
Replay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def case(
    install: Any, make_bundle: Any, make_dicom: Any, capfd: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> Case:
    """A bundle, an image, and what `edgeai infer --json` said of it on the engine ``acme-npu``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install("acme", {"acme-npu": 5, "acme-dsp": 6})
    bundle, image = make_bundle(plugins=("acme-parts",)), make_dicom()
    assert run(["infer", str(bundle), str(image), "--backend", "acme-npu", "--json"]) == 0
    return bundle, image, json.loads(capfd.readouterr().out)


@pytest.fixture
def replay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Replay:
    def replaying(body: dict[str, Any], *words: object) -> tuple[int, str, str]:
        saved = tmp_path / "result.json"
        saved.write_text(json.dumps(body))
        status = run(["replay", str(saved), *map(str, words)])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return replaying


def test_the_same_image_gives_the_same_answer(case: Case, replay: Replay) -> None:
    bundle, image, body = case
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "by its UID alone" in printed, "the same to the digit" in printed) == (0, True, True)
    body["instance"]["content"] = ContentDigest.of_file(image).result()
    status, printed, _ = replay(body, "--file", image, "--look", bundle.parent)
    assert (status, "by the hash of its content" in printed) == (0, True)
    told = json.loads(replay(body, "--file", image, "--bundle", bundle, "--json")[1])
    assert (told["same"], told["identical"], told["image"], told["differences"]) == (True, True, "content", [])
    assert told["numbers"] >= 2


def test_what_other_deployments_said_is_not_asked_of_this_model(case: Case, replay: Replay) -> None:
    bundle, image, body = case
    figure = {"check": "requires", "name": "view class:frontal", "value": 0.97, "threshold": 0.9, "withheld": False}
    body["guard"] = [figure, *body["guard"]]
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "the same to the digit" in printed, "guard (requires)" in printed) == (0, True, True)


EDITS: tuple[tuple[tuple[Any, ...], Any, str], ...] = (
    (("result_id",), "4f8828ee-fb0d-8b9d-90d2-a572f4f1f362", "result id: was 4f8828ee"),
    (("model", "name"), "us-tail", "model name: was us-tail, is tiny"),
    (("model", "version"), "9.9", "model version: was 9.9, is 1.0.0"),
    (("instance", "study_instance_uid"), "1.2.3", "image study_instance_uid: was 1.2.3, is "),
    (("instance", "modality"), "MG", "image modality: was MG, is CR"),
    (("frames_total",), 7, "frames in all: was 7, is 1"),
    (("guard",), [{"check": "c", "name": "n", "value": 1.0}], "guard c, n: was 1.0, is absent"),
    (("findings", 0, "concept"), {"code": "1", "scheme": "SCT", "meaning": "Fine"}, "code: was SCT 1 (Fine), is"),
    (("findings", 0, "label"), "benign", "class benign, stated: was"),
    (("findings", 0, "threshold"), 0.500001, "threshold: was 0.500001, is"),
    (
        ("findings", 0, "codes"),
        [{"code": "1", "scheme": "SCT", "meaning": "Left"}],
        "code: was SCT 1 (Left), is absent",
    ),
    (("findings", 0, "notes"), [{"code": "a.b", "text": "x"}], "note a.b, in words: was x, is absent"),
    (("findings", 0, "measurements"), [{"name": "a", "value": 1, "unit": "mm"}], "a in mm: was 1, is absent"),
)


NOTE = {"code": "dicom.other-decoder", "text": "it was read by another"}
FILE = {"digest": "sha256:0", "name": "a", "media_type": "image/png", "size_bytes": 1}


def test_notes_signers_and_attachments_are_compared(case: Case, replay: Replay, tmp_path: Path) -> None:
    from edgeai.bundle.keys import make_keys

    bundle, image, body = case
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert "beside  not compared: file, schema, created_at, edgeai_version, attempt, degraded, timings_ms" in printed
    signer = {"name": "clinic", "key_id": make_keys("clinic", tmp_path / "keys").public.key_id}
    changed = edited(edited(body, ("notes",), [NOTE]), ("model", "signers"), [signer])
    status, printed, _ = replay(changed, "--file", image, "--bundle", bundle)
    assert (status, "note dicom.other-decoder: was yes, is absent" in printed) == (1, True)
    assert "note dicom.other-decoder, in words: was it was read by another, is absent" in printed
    assert "signers: was clinic, is the result names clinic" in printed
    assert "model.signers.name" in printed.splitlines()[-1]
    told = json.loads(replay(changed, "--file", image, "--bundle", bundle, "--json")[1])
    assert (told["signers"]["state"], "notes.text" in told["not_compared"]) == ("broken", False)
    changed["edgeai_version"] = "0.0.9"  # another version may say it in other words
    told = json.loads(replay(changed, "--file", image, "--bundle", bundle, "--json")[1])
    assert "notes.text" in told["not_compared"]
    assert [each["what"] for each in told["differences"]] == ["note dicom.other-decoder", "signers"]
    with_file = edited(body, ("attachments",), [FILE])
    for at, value in (("digest", "sha256:1"), ("name", "b"), ("media_type", "image/gif"), ("size_bytes", 2)):
        after = Result.from_dict(edited(with_file, ("attachments", 0, at), value))
        assert compare(Result.from_dict(with_file), after, Tolerance()).differences, at


def edited(body: dict[str, Any], at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = place = json.loads(json.dumps(body))
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    return dict(changed)


def test_whatever_follows_from_image_bundle_and_engine_is_compared(case: Case, replay: Replay) -> None:
    bundle, image, body = case
    for at, value, says in EDITS:
        compared = compare(Result.from_dict(edited(body, at, value)), Result.from_dict(body), Tolerance(absolute=0.1))
        assert any(says in str(each) for each in compared.differences), at
    everything = body
    for at, value, _ in EDITS:
        everything = edited(everything, at, value)
    status, printed, _ = replay(everything, "--file", image, "--bundle", bundle)
    assert (status, [says for _, _, says in EDITS if says not in printed]) == (1, []), printed
    assert "model   tiny 1.0.0, sha256:" in printed  # the bundle's words, not the result's
    status, printed, _ = replay(edited(body, ("deployment",), "other"), "--file", image, "--bundle", bundle)
    assert (status, "result id: was " in printed, "DIFFERS in 1" in printed) == (1, True, True)


def test_an_id_of_a_later_attempt_is_told_and_not_held(case: Case, replay: Replay) -> None:
    bundle, image, body = case
    body |= {"attempt": 2, "result_id": "4f8828ee-fb0d-8b9d-90d2-a572f4f1f362"}
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "id      of attempt 2, not derived anew" in printed) == (0, True)


def test_an_answer_that_differs_is_told_in_figures(case: Case, replay: Replay) -> None:
    bundle, image, body = case
    body["findings"][0]["probability"] -= 1e-5
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "the same to the tolerance: at most 1e-05 apart" in printed) == (0, True)
    body["findings"][0]["probability"] -= 0.25
    body["findings"][0]["present"] ^= True
    status, printed, _ = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "DIFFERS in 2" in printed, "0.25 apart" in printed, "stated: was" in printed) == (
        1,
        True,
        True,
        True,
    )


def test_another_image_is_refused_before_anything_runs(case: Case, replay: Replay, make_dicom: Any) -> None:
    bundle, image, body = case
    other = make_dicom("other.dcm")
    status, _, error = replay(body, "--file", other, "--bundle", bundle)
    assert (status, "trace.other-image" in error, "its UID differs" in error) == (2, True, True)
    body["instance"]["content"] = ContentDigest.of_file(image).result()
    changed = make_dicom("image.dcm", level=199)  # the same UID
    status, _, error = replay(body, "--file", changed, "--bundle", bundle)
    assert (status, "trace.other-image" in error, "its content differs" in error) == (2, True, True)


def test_an_image_under_hmacs_needs_the_carts_key(case: Case, replay: Replay, tmp_path: Path) -> None:
    bundle, image, body = case
    (tmp_path / "hmac.key").write_text("0123456789abcdef" * 4)
    profile = tmp_path / "profile.toml"
    profile.write_text(
        '[device]\nid = "cart"\nsite = "lab"\n[trust]\nunsigned = "accept"\n'
        '[privacy]\nuids = "hmac"\nhmac_key_file = "hmac.key"\n'
    )
    mask = UidMask((tmp_path / "hmac.key").read_bytes())
    ids = mask.ids(read_header(image).instance, ContentDigest.of_file(image).result())
    body["instance"] = asdict(ids)
    body["result_id"] = result_id(ids.sop_instance_uid, body["model"]["digest"], body["deployment"], ids.content)
    status, _, error = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "trace.masked" in error) == (2, True)
    status, printed, error = replay(body, "--file", image, "--bundle", bundle, "--profile", profile)
    assert (status, "by the hash of its content" in printed, error) == (0, True, "")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"backend": "acme-dsp", "engine": "acme 9"}, "trace.other-engine"),
        ({"backend": "acme-gone"}, "trace.other-engine"),
        ({"device": "GPU.7"}, "trace.other-engine"),
        ({"precision": "int8"}, "trace.other-engine"),
        ({"artifact": "none"}, "trace.artifact"),
    ],
)
def test_another_engine_is_refused(case: Case, replay: Replay, change: dict[str, str], code: str) -> None:
    bundle, image, body = case
    body["engine"] |= change
    status, printed, error = replay(body, "--file", image, "--bundle", bundle)
    assert (status, printed, f"error[{code}]" in error) == (2, "", True)


def test_another_bundle_none_and_no_run_are_refused(case: Case, replay: Replay, make_bundle: Any) -> None:
    bundle, image, body = case
    other = make_bundle(plugins=("acme-parts",), version="2.0.0")
    assert "trace.other-bundle" in replay(body, "--file", image, "--bundle", other)[2]
    assert "trace.no-bundle" in replay(body, "--file", image)[2]
    assert replay(body, "--bundle", bundle)[0] == 2
    reason = {"code": "input.not-eligible", "message": "no", "remedy": None}
    body |= {"outcome": "not-applicable", "findings": [], "reason": reason, "engine": None}
    status, _, error = replay(body, "--file", image, "--bundle", bundle)
    assert (status, "trace.not-run" in error) == (2, True)


def test_a_bundle_that_nobody_trusted_signed_is_not_run(case: Case, replay: Replay, tmp_path: Path) -> None:
    from edgeai.bundle.keys import make_keys

    bundle, image, body = case
    trusted = make_keys("clinic", tmp_path / "keys").public.path
    status, _, error = replay(body, "--file", image, "--bundle", bundle, "--trust", trusted)
    assert (status, "bundle.unsigned" in error) == (1, True)


def test_regions_measurements_and_outcomes_are_compared(case: Case) -> None:
    before = replace(
        Result.from_dict(case[2]),
        findings=(
            Finding(
                kind="segment",
                label="head",
                present=True,
                probability=0.9,
                region=Region(area_px=1000.0, box=(1.0, 2.0, 30.0, 40.0), parts=1),
                measurements=(Measurement(name="around", value=250.0, unit="mm"),),
            ),
        ),
    )
    finding = before.findings[0]
    assert finding.region is not None
    tolerance = Tolerance(absolute=0.01, relative=0.001)
    assert compare(before, before, tolerance).differences == ()
    near = replace(finding, region=replace(finding.region, area_px=1001.0))
    assert compare(before, replace(before, findings=(near,)), tolerance).differences == ()
    square = ((0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0))
    drawn = replace(finding, region=replace(finding.region, contours=(square,)))
    for points, differs in (((square[0], (50.0, 1.0), *square[1:]), False), (square[:3], True), ((), True)):
        other = replace(drawn, region=replace(finding.region, contours=(points,) if points else ()))
        compared = compare(replace(before, findings=(drawn,)), replace(before, findings=(other,)), tolerance)
        assert [each.what for each in compared.differences] == ["segment head, outlines in pixels"] * differs
        assert compared.largest > 0.0
    heat = Heat(name="error", values=((1.0, 2.0),), box=(0.0, 0.0, 2.0, 1.0), frame_number=1, bound=0.5)
    heated = replace(before, findings=(replace(finding, heat=heat),))
    for change, differs in (
        ({"values": ((1.05, 2.0),)}, ["values"]),
        ({"values": ((1.0,), (2.0,))}, ["values"]),
        ({"bound": 0.6}, ["bound"]),
        ({"values": ((1.01, 1.99),)}, []),
    ):
        other = replace(before, findings=(replace(finding, heat=replace(heat, **change)),))
        compared = compare(heated, other, tolerance)
        assert [each.what for each in compared.differences] == [f"segment head, heat, {what}" for what in differs]
    assert compare(heated, before, tolerance).differences
    twice = replace(finding, measurements=(Measurement(name="around", value=9.0, unit="mm"), *finding.measurements))
    assert compare(before, replace(before, findings=(twice,)), tolerance).differences
    far = replace(finding, region=replace(finding.region, area_px=1002.0, box=None), measurements=())
    compared = compare(before, replace(before, findings=(far,)), tolerance)
    assert {each.what.partition(", ")[2] for each in compared.differences} == {
        "area_px", "box[0]", "box[1]", "box[2]", "box[3]", "around in mm",
    }  # fmt: skip
    nan = replace(finding, probability=float("nan"))
    assert [each.what for each in compare(before, replace(before, findings=(nan,)), tolerance).differences] == [
        "segment head, probability"
    ]
    from edgeai.api.results import Failure

    failed = replace(before, outcome=Outcome.FAILED, findings=(), reason=Failure(code="dicom.truncated", message="cut"))
    told = [str(each) for each in compare(before, failed, tolerance).differences]
    assert "outcome: was completed, is failed" in told
    assert "reason: was absent, is dicom.truncated" in told
