"""The alert rules that ship: sound, true to the metrics that there are, and silent or loud when they should be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from edgeai.testing.require import require


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    require("promtool", program is not None, "promtool is not installed; apt-get install prometheus")
    assert program is not None
    return program


@pytest.fixture
def folder(repo_root: Path) -> Path:
    return repo_root / "firmware-configs/prometheus"


@pytest.mark.slow
def test_the_rules_are_sound_and_do_what_they_say(promtool: str, folder: Path) -> None:
    for command in (("check", "rules", "edgeai.rules.yml"), ("test", "rules", "edgeai.rules.test.yml")):
        done = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("unless on (job, instance) (edgeai_build_info or up)", "unless on (job) (edgeai_build_info or up)"),
        ('or (edgeai_results_total{outcome="failed"} unless', 'or (0 * edgeai_results_total{outcome="failed"} unless'),
        ("and on (job, instance) (edgeai_build_info offset 15m)", "and on (job, instance) edgeai_build_info"),
        ("expr: edgeai_serving == 0", "expr: edgeai_serving > 2"),
    ],
)
def test_the_tests_of_the_rules_notice_a_rule_that_is_wrong(
    promtool: str, folder: Path, tmp_path: Path, what: str, instead: str
) -> None:
    rules = (folder / "edgeai.rules.yml").read_text()
    assert what in rules
    (tmp_path / "edgeai.rules.yml").write_text(rules.replace(what, instead))
    shutil.copy(folder / "edgeai.rules.test.yml", tmp_path)
    done = subprocess.run([promtool, "test", "rules", "edgeai.rules.test.yml"], cwd=tmp_path, check=False)
    assert done.returncode != 0


def test_the_rules_use_metrics_that_there_are(folder: Path, repo_root: Path) -> None:
    reference = (repo_root / "docs/reference/metrics.md").read_text()
    known = set(re.findall(r"`(edgeai_[a-z_]+)`", reference)) | {"edgeai_stage_seconds_bucket"}
    for name in ("edgeai.rules.yml", "edgeai.rules.test.yml"):
        used = set(re.findall(r"(?<!/)\bedgeai_[a-z_]+", (folder / name).read_text()))
        assert used
        assert used <= known, name


def test_the_guide_names_every_alert_and_no_other(folder: Path, repo_root: Path) -> None:
    groups = yaml.safe_load((folder / "edgeai.rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    guide = (repo_root / "docs/guides/operations.md").read_text()
    assert set(re.findall(r"`(Edgeai[A-Z]\w+)`", guide)) == alerts
