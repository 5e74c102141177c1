"""Fixtures shared by all tests: where the data kit is, and which peers must not be missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.testing.broker import Mosquitto
from edgeai.testing.certificates import Authority
from edgeai.testing.require import require

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_kit() -> Path:
    """The data kit's folder; skips, saying where it looked, when it is absent."""
    folder = Path(os.environ.get("EDGEAI_DATA", ROOT.parent / "shared" / "data"))
    require("data", (folder / "dicom_reference.csv").is_file(), f"no data kit at {folder}; set EDGEAI_DATA")
    return folder


def _program(name: str, peer: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    require(peer, found is not None, f"{name} is not installed; apt-get install {peer}")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the real broker."""
    return _program("mosquitto", "mosquitto")


@pytest.fixture(scope="session")
def storescu() -> str:
    """Path of DCMTK's C-STORE client."""
    return _program("storescu", "dcmtk")


@pytest.fixture
def broker(mosquitto: str, tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto on a free loopback port, for one test."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder) as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of this test run alone."""
    return Authority(tmp_path_factory.mktemp("ca"))
