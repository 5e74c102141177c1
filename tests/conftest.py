"""Fixtures shared by all tests: where the data kit is, and which peers must not be missing."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgeai.testing.broker import Mosquitto
from edgeai.testing.certificates import Authority
from edgeai.testing.require import require

ROOT = Path(__file__).resolve().parent.parent

LONGEST_FIRST = (
    "tests/system/test_health.py",
    "tests/system/test_doctor.py",
    "tests/system/test_kills.py",
    "tests/system/test_wheelhouse.py",
    "tests/system/test_fleet_demo.py",
    "tests/system/test_selftest.py",
    "tests/system/test_broker_refusals.py",
    "tests/system/test_broker_trouble.py",
    "tests/system/test_operating.py",
    "tests/system/test_misbehaviour.py",
    "tests/system/test_endings.py",
    "tests/system/test_maintenance.py",
    "tests/system/test_permissions.py",
    "tests/system/test_shipped_files.py",
    "tests/system/test_foreign.py",
    "tests/torture/test_soak.py",
    "tests/unit/test_build_building.py",
    "tests/unit/test_cli_plugins.py",
    "tests/conformance/test_seed_architectures.py",
    "tests/roles/test_slots_ways.py",
    "tests/roles/test_supervise.py",
    "tests/roles/test_trials.py",
    "tests/roles/test_blame_matrix.py",
    "tests/roles/test_row.py",
    "tests/roles/test_slots_kills.py",
    "tests/roles/test_slots.py",
    "tests/roles/test_infer.py",
    "plugins/edgeai-keras/tests/test_training.py",
    "plugins/edgeai-keras/tests/test_conformance.py",
    "tests/foreign/test_foreign_task.py",
    "tests/roles/test_memory_budget.py",
    "plugins/edgeai-keras/tests/test_channels_pruning.py",
    "tests/conformance/test_kit_catches.py",
    "plugins/edgeai-openvino/tests/test_quantise.py",
    "plugins/edgeai-update/tests/test_kills.py",
    "plugins/edgeai-gpu/tests/test_conformance.py",
    "tests/unit/test_build_foreign.py",
    "plugins/edgeai-keras/tests/test_distil.py",
    "tests/roles/test_on_disk.py",
    "plugins/edgeai-keras/tests/test_importing.py",
    "plugins/edgeai-tflite/tests/test_quantise.py",
    "plugins/edgeai-fleet/tests/test_conducting.py",
    "tests/unit/test_delivery.py",
    "tests/roles/test_sharing.py",
    "tests/roles/test_releases.py",
    "tests/unit/dicom/test_dicom_grey_matrix.py",
    "tests/unit/test_build_foreign_extents.py",
    "tests/unit/test_build_foreign_pictures.py",
    "tests/unit/test_build_coverage.py",
    "tests/roles/test_shadow.py",
    "tests/unit/test_backend_twice.py",
    "plugins/edgeai-keras/tests/test_resuming.py",
    "plugins/edgeai-gpu/tests/test_backend.py",
    "tests/unit/test_build_first.py",
    "tests/foreign/test_foreign_first_try.py",
    "tests/unit/test_bundle_bits.py",
    "tests/roles/test_publish.py",
    "plugins/edgeai-tflite/tests/test_state.py",
    "plugins/edgeai-openvino/tests/test_conformance.py",
    "tests/unit/test_cli_infer.py",
    "plugins/edgeai-gpu/tests/test_safety.py",
    "tests/unit/test_build_choice.py",
    "plugins/edgeai-keras/tests/test_cluster.py",
    "tests/unit/test_reference_models.py",
    "tests/unit/test_cli_commands.py",
    "tests/test_house.py",
    "tests/unit/test_plugins_guide.py",
    "tests/foreign/test_new_task.py",
    "plugins/edgeai-openvino/tests/test_state.py",
)
"""Files that take half a minute or more: with several workers they begin, so that none is left alone with one."""


def pytest_configure() -> None:
    """Take SIGINT: a shell that begins the tests in its background ignores it, and so would all that a test starts.

    And no example of hypothesis fails for being slow.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "CI" not in os.environ:  # there hypothesis does so itself: how busy a machine is, is no fault of the code
        settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end: to look again and again for what may be let go takes a seventh of it.

    Whatever the environment says of bytecode, what pytest makes of a test file's asserts is kept, since a third of what
    is left goes into making it; that of files which tests write is not, where nothing else is asked for.
    """
    gc.disable()
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = writes_none
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; of a file's own tests the order stays."""
    rank = {ROOT / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


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
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    require(peer, program is not None, f"{name} is not installed; apt-get install {peer}")
    assert program is not None
    return program


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
