"""``edgeai keys``, ``sign``, ``verify``, ``infer --trust``: what they say, and with which status they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeai.bundle.manifest import digest_of
from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.doctor import device
from edgeai.doctor.checks import Check

Make = Callable[..., Path]
PROFILE = (
    '[device]\nid = "cart"\nsite = "lab"\n[ingest.scp]\nenabled = false\n'
    "[health]\nenabled = false\n[mqtt]\nenabled = false\n"
)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.delenv("EDGEAI_KEY_PASSPHRASE", raising=False)

    def calling(*words: object) -> tuple[int, str, str]:
        status = run([str(word) for word in words])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return calling


@pytest.fixture
def keys(tmp_path: Path, call: Any) -> Path:
    """A folder ``made`` with two pairs, and a folder ``trust`` with both public halves."""
    (tmp_path / "trust").mkdir()
    for name in ("build", "clinic"):
        assert call("keys", "new", name, "--out", tmp_path / "made", "--comment", f"The {name}'s key")[0] == 0
        (tmp_path / "trust" / f"{name}.pub").write_bytes((tmp_path / "made" / f"{name}.pub").read_bytes())
    return tmp_path


def test_the_whole_way_from_keys_to_a_trusted_bundle(call: Any, keys: Path, make_bundle: Make) -> None:
    bundle, trust = make_bundle(), keys / "trust"
    status, printed, error = call("verify", bundle, "--trust", trust)
    assert (status, "bundle.unsigned" in error, "it is not signed" in printed) == (1, True, True)
    status, printed, _ = call("sign", bundle, "--key", keys / "made/build.key")
    assert (status, "signed: key id" in printed, "1 signature" in printed) == (0, True, True)
    assert "had signed already" in call("sign", bundle, "--key", keys / "made/build.key")[1]
    status, printed, error = call("verify", bundle, "--trust", trust, "--threshold", 2)
    assert (status, "bundle.untrusted" in error, "1 of 2 needed" in printed) == (1, True, True)
    assert call("sign", bundle, "--key", keys / "made/build.key", "--key", keys / "made/clinic.key")[0] == 0
    status, printed, error = call("verify", bundle, "--trust", trust, "--threshold", 2)
    assert (status, error) == (0, "")
    for word in ("tiny 1.0.0", "sha256:", "signed by build", '"The build\'s key"', str(trust / "clinic.pub"), "2 of 2"):
        assert word in printed
    assert call("verify", bundle, "--trust", trust / "build.pub", "--trust", trust / "clinic.pub")[0] == 0


def test_verify_without_trust_trusts_nobody(call: Any, keys: Path, make_bundle: Make) -> None:
    bundle = make_bundle()
    call("sign", bundle, "--key", keys / "made/build.key")
    status, printed, error = call("verify", bundle)
    assert (status, "unknown" in printed, "bundle.untrusted" in error) == (1, True, True)


def test_verify_says_what_is_bad(call: Any, keys: Path, make_bundle: Make) -> None:
    bundle = make_bundle()
    call("sign", bundle, "--key", keys / "made/build.key")
    data = bytearray(bundle.read_bytes())
    data[data.index(b"signatures.json") + 40] ^= 1
    (keys / "flipped.edgeai").write_bytes(data)
    assert call("verify", keys / "flipped.edgeai", "--trust", keys / "trust")[0] == 1  # the archive's own sum
    root = keys / "unpacked"
    from edgeai.bundle.archive import Archive

    with Archive(bundle) as archive:
        archive.unpack(root)
    path = root / "signatures.json"
    body = json.loads(path.read_bytes())
    first = body["signatures"][0]["sig"]
    body["signatures"][0]["sig"] = ("B" if first[0] == "A" else "A") + first[1:]
    path.write_text(json.dumps(body))
    status, printed, error = call("verify", root, "--trust", keys / "trust")
    assert (status, "BAD" in printed, "bundle.bad-signature" in error) == (1, True, True)
    status, printed, _ = call("verify", root, "--trust", keys / "trust", "--json")
    assert status == 1
    assert json.loads(printed)["trusted"] is False


def test_verify_for_programs(call: Any, keys: Path, make_bundle: Make) -> None:
    bundle = make_bundle()
    call("sign", bundle, "--key", keys / "made/build.key")
    status, printed, _ = call("verify", bundle, "--trust", keys / "trust", "--json")
    body = json.loads(printed)
    assert (status, body["trusted"], body["threshold"]) == (0, True, 1)
    [signature] = body["signatures"]
    assert (signature["verdict"], signature["name"], signature["comment"]) == ("good", "build", "The build's key")
    assert json.loads(call("inspect", bundle, "--json")[1])["key_ids"] == [signature["key_id"]]
    assert "not checked here" in " ".join(call("inspect", bundle)[1].split())


def test_damage_is_status_1_and_a_wrong_command_2(call: Any, keys: Path, make_bundle: Make) -> None:
    bundle, trust = make_bundle(), keys / "trust"
    assert call("verify", bundle, "--trust", keys / "none")[0] == 2
    assert call("verify", bundle, "--trust", trust, "--threshold", 0)[0] == 2
    assert call("sign", bundle, "--key", keys / "none.key")[0] == 2
    assert call("sign", bundle)[0] == 2
    assert call("sign", keys / "none.edgeai", "--key", keys / "made/build.key")[0] == 1
    assert call("verify", keys / "none.edgeai", "--trust", trust)[0] == 1
    (trust / "build.key").write_bytes((keys / "made/build.key").read_bytes())
    assert call("sign", bundle, "--key", keys / "made/build.key")[0] == 0
    assert call("verify", bundle, "--trust", trust)[0] == 0, "a folder's keys are its .pub and .pem files"
    (trust / "leak.pem").write_bytes((keys / "made/build.key").read_bytes())
    status, _, error = call("verify", bundle, "--trust", trust)
    assert (status, "private key" in error) == (2, True)


def test_passphrases(call: Any, keys: Path, make_bundle: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, words = make_bundle(), keys / "words"
    words.write_text("correct horse\nand more\n")
    assert call("keys", "new", "safe", "--out", keys / "made", "--passphrase-file", words)[0] == 0
    status, printed, error = call("keys", "new", "other", "--out", keys / "made", "--encrypt")
    assert (status, "keys.passphrase" in error) == (2, True), "nobody is here to type one"
    safe = keys / "made/safe.key"
    assert "keys.passphrase" in call("sign", bundle, "--key", safe)[2]
    assert call("sign", bundle, "--key", safe, "--passphrase-file", words)[0] == 0
    monkeypatch.setenv("EDGEAI_KEY_PASSPHRASE", "wrong")
    status, _, error = call("keys", "public", safe)
    assert (status, "keys.unreadable" in error) == (2, True)
    monkeypatch.setenv("EDGEAI_KEY_PASSPHRASE", "correct horse")
    status, printed, _ = call("keys", "public", safe, "--comment", "safe")
    assert (status, printed) == (0, (keys / "made/safe.pub").read_text())
    words.write_text("")
    assert call("keys", "new", "empty", "--out", keys / "made", "--passphrase-file", words)[0] == 2
    assert not (keys / "made/empty.key").exists()


def test_a_key_that_others_can_read_is_said_aloud(call: Any, keys: Path, make_bundle: Make) -> None:
    (keys / "made/build.key").chmod(0o644)
    assert "chmod 600" in call("sign", make_bundle(), "--key", keys / "made/build.key")[2]


def test_infer_with_trust_refuses_or_names_the_signer(
    call: Any, keys: Path, make_bundle: Make, make_dicom: Make, monkeypatch: pytest.MonkeyPatch, fakes: Any
) -> None:
    from edgeai import model

    monkeypatch.setenv("XDG_CACHE_HOME", str(keys / "cache"))
    opening = model.open_model
    monkeypatch.setattr(model, "open_model", lambda *given, **more: opening(*given, **more, registry=fakes))
    bundle, image = make_bundle(), make_dicom()
    words = ["infer", bundle, image, "--json", "--backend", "fake-works"]
    status, printed, _ = call(*words)
    assert (status, json.loads(printed)["model"]["signers"]) == (0, [])
    status, _, error = call(*words, "--trust", keys / "trust")
    assert (status, "bundle.unsigned" in error) == (1, True)
    call("sign", bundle, "--key", keys / "made/clinic.key")
    status, printed, _ = call(*words, "--trust", keys / "trust")
    [signer] = json.loads(printed)["model"]["signers"]
    assert (status, signer["name"], len(signer["key_id"])) == (0, "clinic", 64)
    assert call(*words, "--trust", keys / "trust", "--threshold", 2)[0] == 1


# --- profiles -----------------------------------------------------------------------------------------


def test_a_profile_without_trust_refuses_unsigned_bundles_and_looks_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text(PROFILE)
    trust = load_config(tmp_path / "profile.toml").trust
    assert (trust.keys, trust.threshold, trust.unsigned) == (tmp_path / "trust", 1, "refuse")


@pytest.mark.parametrize(("made", "state"), [(False, "is missing"), (True, "holds no key")])
def test_config_check_notes_that_there_is_no_key(call: Any, tmp_path: Path, made: bool, state: str) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(PROFILE)
    if made:
        (tmp_path / "trust").mkdir()
    status, printed, error = call("config", "check", profile)
    assert (status, "no mistakes" in printed, state in error) == (0, True, True)
    profile.write_text(PROFILE + '[trust]\nunsigned = "accept"\n')
    assert "trust" not in call("config", "check", profile)[2]


def trust_line(profile: Path) -> Check:
    return device.trust(load_config(profile))


def test_doctor_looks_at_the_trust_folder(call: Any, keys: Path, make_bundle: Make) -> None:
    profile, bundle = keys / "profile.toml", make_bundle()
    deployment = f'[[deployments]]\nname = "guard"\nbundle = "{bundle}"\n'
    profile.write_text(PROFILE + deployment)
    lines = {line["what"]: line for line in json.loads(call("doctor", profile, "--json")[1])}
    assert (lines["trust"]["verdict"], "build, clinic" in lines["trust"]["found"]) == ("ok", True)
    assert (lines["bundle of guard"]["verdict"], "not signed" in lines["bundle of guard"]["found"]) == ("fail", True)
    profile.write_text(PROFILE + "[trust]\nthreshold = 3\n")
    assert trust_line(profile).verdict == "fail"
    profile.write_text(PROFILE + '[trust]\nkeys = "none"\n')
    assert "is missing" in trust_line(profile).found
    profile.write_text(PROFILE + '[trust]\nkeys = "none"\nunsigned = "accept"\n')
    assert trust_line(profile).verdict == "warn"
    profile.write_text(PROFILE)
    soon = (datetime.now(UTC) + timedelta(days=20)).date()
    for bounds, verdict, words in (
        ("[keys.build]\nends = 2999-12-31\nmodels = ['a']\n", "ok", "build (for a, until 2999-12-31), clinic"),
        (f"[keys.build]\nends = {soon}\n", "warn", f"until {soon}"),
        ("[keys.build]\nends = 2001-12-31\n", "warn", "build (ended on 2001-12-31)"),
        ("[keys.build]\nends = 2001-12-31\n[keys.clinic]\nends = 2001-12-31\n", "fail", "no bundle can run"),
        ("[keys.nobody]\n", "fail", "keys.nobody"),
    ):
        (keys / "trust" / "trust.toml").write_text(bounds)
        line = trust_line(profile)
        assert (line.verdict, words in line.found) == (verdict, True), line
    (keys / "trust" / "trust.toml").unlink()
    (keys / "trust" / "x.pem").write_text("junk")
    assert (trust_line(profile).verdict, "x.pem" in trust_line(profile).found) == ("fail", True)


def test_config_check_notes_a_mistake_in_the_bounds(call: Any, keys: Path) -> None:
    profile = keys / "profile.toml"
    profile.write_text(PROFILE)
    assert "trust" not in call("config", "check", profile)[2]
    (keys / "trust" / "trust.toml").write_text("[keys.build]\nmodel = 1\n")
    status, _, error = call("config", "check", profile)
    assert (status, "trust.toml:2: keys.build.model: unknown key" in error) == (0, True)


def test_the_digest_is_of_the_manifest_signed_or_not(call: Any, keys: Path, make_bundle: Make) -> None:
    import zipfile

    bundle = make_bundle()
    with zipfile.ZipFile(bundle) as archive:
        digest = digest_of(archive.read("manifest.json"))
    call("sign", bundle, "--key", keys / "made/build.key")
    assert json.loads(call("inspect", bundle, "--json")[1])["digest"] == digest
