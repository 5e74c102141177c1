"""``edgeai status`` on a terminal of 80 columns: no word is cut in two, and what is one thing is said once."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeai.cli import status
from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.health import DeploymentHealth, Health, read_health
from edgeai.spool import Spool

WHY_NOT = (
    "openvino on AUTO with student-openvino-int8: stands behind openvino on CPU with student-openvino-int8",
    "tflite: not tried, openvino comes first",
)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Of a device that ran, and does not now."""
    path = tmp_path / "profile.toml"
    (tmp_path / "a.edgeai").touch()
    path.write_text(
        '[device]\nid = "cart-1"\nsite = "trial"\ndata_dir = "var"\n'
        '[[deployments]]\nname = "guard"\nbundle = "a.edgeai"\n[[deployments]]\nname = "head"\nbundle = "a.edgeai"\n'
    )
    Spool(tmp_path / "var" / "spool").close()
    return path


def page(profile: Path, **more: Any) -> str:
    """As 80 columns show it, with these facts in place of what is."""
    config = load_config(profile)
    spool = Spool.of(config)
    health: Health = read_health(spool, config)
    for name, value in more.items():
        object.__setattr__(health, name, value)
    target = io.StringIO()
    Console(width=80, file=target).print(status._page(config, health, []))
    spool.close()
    return target.getvalue()


def deployments(**more: Any) -> tuple[DeploymentHealth, ...]:
    common: dict[str, Any] = {"state": "ready", "backend": "openvino", "device": "CPU", **more}
    return (
        DeploymentHealth(name="guard", model="modality-guard 1.0.0", artifact="openvino-fp16", **common),
        DeploymentHealth(
            name="head", model="us-head 1.0.0", artifact="student-openvino-int8", others=WHY_NOT, **common
        ),
    )


@pytest.mark.parametrize("signers", [(), ("release-2026 7be2",)])
def test_two_deployments_are_readable_at_80_columns(profile: Path, signers: tuple[str, ...]) -> None:
    text = page(profile, deployments=deployments(signers=signers))
    words = set(re.split(r"[\s│,]+", text))
    wanted = {"modality-guard", "us-head", "openvino", "CPU", "openvino-fp16", "student-openvino-int8"}
    assert wanted | ({"release-2026"} if signers else set()) <= words
    assert ("signed by" in text) == bool(signers)
    assert max(len(line) for line in text.splitlines()) <= 80
    told = re.sub(r"\s+", " ", text)
    assert all(f"head: {why}" in told for why in WHY_NOT)


def test_why_a_deployment_cannot_run_is_said_with_its_name(profile: Path) -> None:
    held = DeploymentHealth(name="guard", state="held", why="the bundle [guard] is not signed")
    assert "guard: the bundle [guard] is not signed" in page(profile, deployments=(held,))


def test_a_service_that_does_not_run_is_one_problem(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", str(profile)]) == 1
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if "role.not-running" in line]
    assert out.count("start the service, or read its log") == 1
    for role in ("supervise", "ingest", "publish", "infer:guard", "infer:head"):
        assert role in re.sub(r"\s+", " ", out.partition("start the service")[0]), line
