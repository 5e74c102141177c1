"""A card's ``plugin`` and ``--pardon`` take a plugin by its name or its distribution's, and say what is near."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import PluginNotFound
from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.spool import Spool
from edgeai_workbench.convert import loaded

FAULT = {"version": "1.0", "deployment": "guard", "step": "run", "cause": "signal-SIGABRT"}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.toml"
    path.write_text(f'[device]\nid = "cart-1"\nsite = "here"\ndata_dir = "{tmp_path}"\n')
    return path


@pytest.fixture
def spool(profile: Path) -> Iterator[Spool]:
    """One that holds an installed plugin, and one that is gone since."""
    made = Spool.of(load_config(profile))
    for name in ("openvino", "acme-gone"):
        assert made.fault(plugin=name, **FAULT, quarantine_after=1)
    yield made
    made.close()


def _held(spool: Spool) -> set[str]:
    return {item.plugin for item in spool.quarantined()}


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("openvino", {"acme-gone"}),
        ("edgeai-openvino", {"acme-gone"}),
        ("EDGEAI_OPENVINO", {"acme-gone"}),
        ("acme-gone", {"openvino"}),
    ],
)
def test_a_pardon_takes_any_name_of_the_plugin(
    profile: Path, spool: Spool, word: str, left: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["status", str(profile), "--json", "--pardon", word])
    assert _held(spool) == left
    assert "1 quarantine(s) lifted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "near"), [("openvno", "did you mean 'openvino'"), ("edgeai-tasks", "several"), ("zzzz", "installed here")]
)
def test_a_pardon_of_what_is_no_plugin_is_refused_and_lifts_nothing(
    profile: Path, spool: Spool, word: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", str(profile), "--json", "--pardon", word]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert near in err
    assert "plugin.not-found" in err
    assert _held(spool) == {"openvino", "acme-gone"}


@pytest.mark.parametrize("word", ["openvino", "edgeai-openvino", "Edgeai_OpenVINO"])
def test_a_card_names_a_plugin_by_its_distribution_too(word: str) -> None:
    assert list(loaded([word]).backends) == ["openvino"]


@pytest.mark.parametrize(("word", "near"), [("edgeai-openvin", "did you mean 'openvino'"), ("edgeai-tasks", "several")])
def test_a_card_with_a_slip_is_refused_with_what_is_near(word: str, near: str) -> None:
    with pytest.raises(PluginNotFound, match=near):
        loaded([word])
