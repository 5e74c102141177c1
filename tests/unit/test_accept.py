"""A site's own cases on its own cart: what is counted, what is signed, and which reports count for a cart."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from edgeai.api.errors import BundleRejected
from edgeai.api.results import Failure, Finding, Measurement, Outcome, Region, Result
from edgeai.bundle.acceptance import accepted_digests, read_acceptance
from edgeai.bundle.keys import make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.cli.main import run
from edgeai.model.accepting import Expectation, by_image, by_label, judged, read_cases, share

Call = Callable[..., tuple[int, str, str]]
DEVICE = {"site": "lab", "device_id": "cart"}


# --- what is counted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (9, 10, 0.5958, 0.9821), (50, 100, 0.4038, 0.5962)],
)
def test_a_share_has_wilsons_interval(count: int, of: int, low: float, high: float) -> None:
    """The bounds are those of R's ``prop.test(correct = FALSE)``."""
    wilson = share(count, of)
    assert (wilson.low, wilson.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def result(*findings: Finding, outcome: Outcome = Outcome.COMPLETED) -> Result:
    body: dict[str, Any] = {
        "schema": 2,
        "result_id": "r",
        "deployment": "d",
        "outcome": str(outcome),
        "model": {"name": "m", "version": "1", "digest": "sha256:0"},
        "instance": dict.fromkeys(
            ("sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid"), "1"
        ),
        "created_at": "2026-11-30T00:00:00Z",
        "edgeai_version": "0.1.0",
        "findings": [],
        "reason": {"code": "task.undecided", "message": "m", "remedy": None},
    }
    made = Result.from_dict({**body, "outcome": "indeterminate"})
    if outcome is Outcome.COMPLETED:
        engine = {"backend": "b", "engine": "e", "device": "d", "artifact": "a", "precision": "p"}
        made = Result.from_dict(
            {**body, "reason": None, "engine": engine, "findings": [{"kind": "k", "label": "l", "present": True}]}
        )
        made = replace(made, findings=findings)
    return made


def one(expected: Expectation, given: Result) -> tuple[bool | None, bool, str]:
    (answer,) = judged("case", [expected], given)
    return answer.stated, answer.right, answer.why


def test_a_decision_is_right_or_wrong_and_what_was_withheld_is_not_right() -> None:
    sees = result(Finding(kind="class", label="yes", present=True), Finding(kind="class", label="no", present=False))
    assert one(Expectation(label="yes", present=True), sees) == (True, True, "")
    assert one(Expectation(label="yes", present=False), sees) == (True, False, "")
    assert one(Expectation(label="no", present=False), sees) == (False, True, "")
    assert one(Expectation(label="maybe", present=False), sees) == (None, False, "no such label")
    withheld = result(outcome=Outcome.INDETERMINATE)
    assert one(Expectation(label="no", present=False), withheld) == (None, False, "task.undecided")
    assert isinstance(withheld.reason, Failure)


def test_a_statement_on_the_instance_comes_before_those_on_its_frames() -> None:
    frames = [Finding(kind="class", label="yes", present=number == 2, frame_number=number) for number in (1, 2)]
    assert one(Expectation(label="yes", present=True), result(*frames))[1]
    whole = Finding(kind="class", label="yes", present=False)
    assert one(Expectation(label="yes", present=False), result(*frames, whole))[1]


def test_a_measurement_is_held_to_its_bounds() -> None:
    head = Finding(
        kind="segment",
        label="head",
        present=True,
        region=Region(area_px=900.0, perimeter_mm=250.0),
        measurements=(Measurement(name="around", value=251.0, unit="mm"),),
    )
    for name, least, most, why in (
        ("around", 245, 255, ""),
        ("around", 252, 255, "around is 251"),
        ("perimeter_mm", 245, 255, ""),
        ("area_mm2", 0, 9, "no area_mm2"),
    ):
        expected = Expectation(label="head", present=True, measurement=name, least=least, most=most)
        assert one(expected, result(head)) == (True, not why, why)


def test_labels_are_counted_by_what_is_expected() -> None:
    sees = result(Finding(kind="class", label="yes", present=True))
    answers = [
        answer
        for case, present in (("a", True), ("b", True), ("c", False))
        for answer in judged(case, [Expectation(label="yes", present=present)], sees)
    ]
    assert {label: (each.count, each.of) for label, each in by_label(answers, present=True).items()} == {"yes": (2, 2)}
    assert {label: (each.count, each.of) for label, each in by_label(answers, present=False).items()} == {"yes": (0, 1)}


def test_what_is_said_of_one_image_is_one_sample() -> None:
    sees = result(Finding(kind="class", label="yes", present=True), Finding(kind="class", label="no", present=False))
    expected = [
        Expectation(label="yes", present=True),
        Expectation(label="yes", present=True, measurement="around"),
        Expectation(label="no", present=False),
    ]
    answers = [*judged("a", expected, sees), *judged("b", expected[::2], sees)]
    assert (by_image(answers).count, by_image(answers).of) == (1, 2)  # of a nothing was measured
    assert (by_label(answers, present=True)["yes"].count, by_label(answers, present=True)["yes"].of) == (2, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file,label\na.dcm,yes\n",
        "file,label,present\n",
        "file,label,present\nnone.dcm,yes,yes\n",
        "file,label,present\na.dcm,yes,perhaps\n",
        "file,label,present\na.dcm,,yes\n",
        "file,label,present,least\na.dcm,yes,yes,low\n",
        "file,label,present\na.dcm,yes,yes\na.dcm,yes,yes\n",
        "file,label,present\na.dcm,yes,yes\n./a.dcm,yes,no\n",
        "file,label,present,measurement\na.dcm,yes,yes,around\na.dcm,yes,no,across\n",
    ],
)
def test_a_table_of_cases_with_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    from edgeai.api.errors import ConfigError

    (tmp_path / "a.dcm").write_bytes(b"")
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_cases(tmp_path)
    assert refused.value.code == "config.cases"
    assert f"{tmp_path}/cases.csv:" in str(refused.value)


# --- on the cart ------------------------------------------------------------------------------


class Site:
    """A profile with one deployment, a folder of cases, and the site's key."""

    def __init__(self, at: Path, bundle: Path, make_dicom: Any) -> None:
        self.at, self.bundle = at, bundle
        self.key = make_keys("site", at / "made")
        self.release = make_keys("release", at / "made")
        for folder, pair in (("trust", self.release), ("acceptors", self.key)):
            (at / folder).mkdir()
            (at / folder / pair.public.path.name).write_bytes(pair.public.path.read_bytes())
        sign_bundle(bundle, signer_of(str(self.release.private), lambda what: ""))
        self.profile = at / "profile.toml"
        self.profile.write_text(
            '[device]\nid = "cart"\nsite = "lab"\n[plugins]\nallow = ["acme-parts", "acme"]\n'
            '[trust]\nacceptors = "acceptors"\n[health]\nenabled = false\n[mqtt]\nenabled = false\n'
            f'[ingest.scp]\nenabled = false\n[[deployments]]\nname = "d"\nbundle = "{bundle.name}"\n'
        )
        self.cases = at / "cases"
        for number in range(20):
            make_dicom(f"cases/{number}.dcm", level=230 + number)

    def expect(self, label: str = "bright", wrong: int = 0) -> None:
        rows = [f"{number}.dcm,{label},{'no' if number < wrong else 'yes'}" for number in range(20)]
        (self.cases / "cases.csv").write_text("file,label,present\n" + "\n".join(rows) + "\n")

    def report(self) -> Path:
        (path,) = (self.at / "var/acceptance").glob("*.json")
        return path


@pytest.fixture
def site(site: Path, install: Any, make_bundle: Any, make_dicom: Any, tmp_path: Path) -> Site:
    install("acme", {"acme-npu": 5})
    return Site(tmp_path, make_bundle(plugins=("acme-parts",)), make_dicom)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    def calling(*words: object) -> tuple[int, str, str]:
        status = run(["accept", *map(str, words)])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return calling


def test_cases_that_are_answered_as_expected_are_accepted_signed_and_count(call: Call, site: Site) -> None:
    label = json.loads(call(site.profile, "--data", _some(site), "--json")[1])["answers"][0]["label"]
    site.expect(label)
    status, printed, _ = call(site.profile, "--data", site.cases, "--key", site.key.private)
    assert (status, "ACCEPTED" in printed, "20 of 20" in printed) == (0, True, True)
    report = read_acceptance(site.report().read_bytes(), site.at / "acceptors")
    assert (report.accepted, report.cases, report.right.count, report.withheld) == (True, 20, 20, 0)
    assert report.engine["backend"] == "acme-npu"
    assert report.right.low == pytest.approx(0.8389, abs=1e-4)
    assert "Secret" not in site.report().read_text()
    assert accepted_digests(site.at / "var", site.at / "acceptors", DEVICE) == {report.digest}
    assert accepted_digests(site.at / "var", None, DEVICE) == frozenset()
    assert accepted_digests(site.at / "var", site.at / "trust", DEVICE) == frozenset()  # another's key
    assert accepted_digests(site.at / "var", site.at / "acceptors", {**DEVICE, "site": "other"}) == frozenset()


def _some(site: Site) -> Path:
    site.expect()
    return site.cases


def test_the_lower_end_decides_and_a_report_that_refuses_counts_for_nothing(call: Call, site: Site) -> None:
    site.expect("bright", wrong=3)
    status, printed, _ = call(site.profile, "--data", site.cases, "--key", site.key.private)
    assert (status, "NOT ACCEPTED" in printed) == (1, True)
    assert read_acceptance(site.report().read_bytes(), site.at / "acceptors").accepted is False
    assert accepted_digests(site.at / "var", site.at / "acceptors", DEVICE) == frozenset()
    status, printed, _ = call(site.profile, "--data", site.cases, "--least", 0.1)
    assert ("nothing is signed or kept" in printed) is True


def test_a_report_that_was_changed_or_is_a_manifest_is_none(call: Call, site: Site) -> None:
    site.expect()
    call(site.profile, "--data", site.cases, "--key", site.key.private)
    body = json.loads(site.report().read_text())
    payload = json.loads(base64.b64decode(body["payload"]))
    payload["accepted"] = not payload["accepted"]
    changed = {**body, "payload": base64.b64encode(json.dumps(payload).encode()).decode()}
    manifest = {**body, "payloadType": "application/vnd.edgeai.manifest+json"}
    for wrong in (changed, manifest, {}, {**body, "more": 1}):
        with pytest.raises(BundleRejected) as refused:
            read_acceptance(json.dumps(wrong).encode(), site.at / "acceptors")
        assert refused.value.code == "bundle.bad-acceptance"


def test_another_bundle_than_the_one_that_runs_can_be_accepted_before_it_does(
    call: Call, site: Site, make_bundle: Any
) -> None:
    site.expect()
    other = make_bundle(plugins=("acme-parts",), version="2.0.0")
    status, _, error = call(site.profile, "--data", site.cases, "--bundle", other)
    assert (status, "bundle.unsigned" in error) == (1, True)
    sign_bundle(other, signer_of(str(site.release.private), lambda what: ""))
    body = json.loads(call(site.profile, "--data", site.cases, "--bundle", other, "--json")[1])
    assert (body["version"], body["deployment"]) == ("2.0.0", "d")


@pytest.mark.parametrize("same", ["content", "SOP Instance UID", "pixels"])
def test_one_image_is_no_case_twice(call: Call, site: Site, make_dicom: Any, same: str) -> None:
    site.expect()
    first = site.cases / "0.dcm"
    for number in range(1, 20):
        copy = site.cases / f"{number}.dcm"
        if same == "content":
            copy.write_bytes(first.read_bytes())
        elif same == "SOP Instance UID":
            make_dicom(f"cases/{number}.dcm", level=230 + number, SOPInstanceUID=pydicom.dcmread(first).SOPInstanceUID)
        else:
            make_dicom(f"cases/{number}.dcm", level=230)
    status, printed, error = call(site.profile, "--data", site.cases, "--key", site.key.private)
    assert (status, printed, "error[config.case-twice]" in error) == (2, "", True)
    assert f"1.dcm has the {same} of 0.dcm" in error
    assert not (site.at / "var/acceptance").exists()


def test_what_cannot_be_used_is_refused_before_anything_runs(call: Call, site: Site) -> None:
    assert call(site.profile)[0] == 2
    site.expect()
    status, _, error = call(site.profile, "--data", site.cases, "--deployment", "other")
    assert (status, "config.no-deployment" in error) == (2, True)
    status, _, error = call(site.profile, "--data", site.cases, "--key", site.at / "none.key")
    assert (status, "keys.unreadable" in error) == (2, True)
    blocked = site.at / "blocked"
    blocked.write_text("")
    status, _, error = call(site.profile, "--data", site.cases, "--key", site.key.private, "--out", blocked / "r.json")
    assert (status, "config.report-unwritable" in error) == (2, True)


def test_the_check_of_a_profile_takes_a_folder_of_acceptors_as_a_run_does(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "check", str(site.profile)]) == 0, capfd.readouterr().err
    (site.at / "acceptors").rename(site.at / "gone")
    assert run(["config", "check", str(site.profile)]) == 2
    assert "trust.acceptors" in capfd.readouterr().err
