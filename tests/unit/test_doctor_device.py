"""What ``edgeai doctor`` says of folders, ports and plugins is what a person has to do, and no more."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest

from edgeai.bundle.reader import read_manifest
from edgeai.config import DeviceConfig, load_config
from edgeai.doctor.apart import Answer, Apart
from edgeai.doctor.checks import Check
from edgeai.doctor.device import folder
from edgeai.doctor.engines import BundleFound, Plugins, deployment_checks, look_at_bundle
from edgeai.ports import why_not
from edgeai.testing.bundles import pack_fake_bundle

ROOT = Path(__file__).resolve().parents[2]
OK = Check(what="bundle", verdict="ok", found="")


def profile(tmp_path: Path, more: str) -> DeviceConfig:
    path = tmp_path / "profile.toml"
    path.write_text('[device]\nid = "cart"\nsite = "lab"\ndata_dir = "var"\n' + more)
    return load_config(path)


def watched(tmp_path: Path, path: str, after: str = "move") -> Any:
    config = profile(tmp_path, f'[[ingest.folders]]\npath = "{path}"\nafter = "{after}"\n')
    return folder(config.ingest.folders[0], config)


def test_a_folder_that_the_device_makes_itself_is_no_warning(tmp_path: Path) -> None:
    line = watched(tmp_path, "var/inbox")
    assert line.verdict == "ok"
    assert "the first start makes it" in line.found


def test_a_folder_elsewhere_has_to_be_there(tmp_path: Path) -> None:
    line = watched(tmp_path, "export")
    assert (line.verdict, line.found) == ("warn", f"{tmp_path / 'export'} is missing")
    assert "create it" in line.remedy
    (tmp_path / "export").mkdir()
    assert watched(tmp_path, "export").verdict == "ok"


@pytest.mark.parametrize(
    ("after", "mode", "verdict"), [("leave", "r-x", "ok"), ("move", "r-x", "warn"), ("leave", "-wx", "warn")]
)
def test_what_it_needs_there_depends_on_what_it_does_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, mode: str, verdict: str
) -> None:
    (tmp_path / "export").mkdir()
    held = sum(bit for bit, mark in ((os.R_OK, "r"), (os.W_OK, "w"), (os.X_OK, "x")) if mark in mode)
    monkeypatch.setattr(os, "access", lambda _path, wanted, **_: not wanted & ~held)
    line = watched(tmp_path, "export", after)
    assert line.verdict == verdict
    if verdict == "warn":
        assert "is closed to this user" in line.found
        assert "missing" not in line.found
        assert "create" not in line.remedy


def test_a_bundle_whose_plugins_are_not_allowed_gets_the_whole_line(tmp_path: Path) -> None:
    """``allow`` is the whole list: who writes the missing one alone takes the others away."""
    pack_fake_bundle(tmp_path / "content", tmp_path / "guard.edgeai", name="guard")
    text = '[plugins]\nallow = ["tflite"]\n[trust]\nunsigned = "accept"\n'
    text += '[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\n'
    config = profile(tmp_path, text)
    line = look_at_bundle(config.deployments[0], config).check
    assert line.verdict == "fail"
    written = line.remedy.partition(": ")[2]
    allow = tomllib.loads(written)["allow"]
    assert allow[0] == "tflite"
    assert len(allow) > 1
    assert (
        look_at_bundle(
            config.deployments[0], profile(tmp_path, text.replace('allow = ["tflite"]', written))
        ).check.verdict
        == "ok"
    )


def test_a_low_port_needs_what_the_shipped_unit_does_not_give() -> None:
    _, remedy = why_not(PermissionError(13, "Permission denied"), 104)
    unit = (ROOT / "firmware-configs/systemd/edgeai.service").read_text()
    assert "CAP_NET_BIND_SERVICE" not in unit
    assert "shipped unit gives" not in remedy
    for key in ("AmbientCapabilities=", "CapabilityBoundingSet="):
        assert key in remedy
        assert f"\n{key}\n" in unit, "what the remedy adds to is empty"


@pytest.mark.parametrize(("remedy", "verdict"), [("edgeai build --rebuild", "warn"), ("", "ok")])
def test_what_this_machine_does_to_an_artifact_is_a_line_of_its_own(tmp_path: Path, remedy: str, verdict: str) -> None:
    bundle = tmp_path / "guard.edgeai"
    pack_fake_bundle(tmp_path / "content", bundle, name="guard")
    config = profile(tmp_path, f'[[deployments]]\nname = "guard"\nbundle = "{bundle}"\n')
    caution = {"error": "int8 here is", "code": "backend.some", "remedy": remedy}
    opened = {"on": "acme (CPU)", "cases": 1, "degraded": [], "unmeasured": False, "caution": caution}

    class Opened:
        def ask(self, part: str, **limits: Any) -> Answer:
            return Answer(lines=(opened,))

    bundle_found = BundleFound(deployment=config.deployments[0], check=OK, manifest=read_manifest(bundle)[0])
    plugins = Plugins(answers={}, deaths={}, missing=())
    lines = {line.what: line for line in deployment_checks(bundle_found, plugins, config, cast("Apart", Opened()))}
    assert lines["deployment guard"].verdict == "ok"
    told = lines["arithmetic of guard"]
    assert (told.verdict, told.found, told.remedy) == (verdict, "int8 here is [backend.some]", remedy)
    opened["caution"] = None
    assert len(list(deployment_checks(bundle_found, plugins, config, cast("Apart", Opened())))) == 1
