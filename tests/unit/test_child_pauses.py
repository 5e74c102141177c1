"""How long a role that keeps dying waits for its next start."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeai.roles import child as children
from edgeai.roles.child import Child

LIFE = """
import sys
from pathlib import Path
from edgeai.spool.station import Station

station = Station(Path(__file__).parent, sys.argv[1])
if {comes_up}:
    station.beat("ready")
sys.exit(1)
"""


@pytest.mark.parametrize(("comes_up", "pauses"), [(False, [1.0, 2.0, 3.0]), (True, [1.0, 1.0])], ids=["never up", "up"])
def test_pauses_grow_while_a_role_dies_before_it_is_up_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_up: bool, pauses: list[float]
) -> None:
    monkeypatch.setattr(children, "SETTLED_S", 0.0)  # each life is a long one
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    (tmp_path / "short_life.py").write_text(LIFE.format(comes_up=comes_up))
    role = Child("publish", tmp_path / "cart.toml", tmp_path, pause_min_s=1.0, pause_max_s=3.0, module="short_life")
    waited = []
    for _ in pauses:
        role.start()
        while not role.has_ended():
            time.sleep(0.02)
        waited.append(role.schedule(role.bury()))
    assert waited == pauses
