"""What ``edgeai support`` says of a log that it can take nothing of."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.cli.main import run

OWN = '{"at": "2026-11-29T06:38:30.691+00:00", "level": "info", "role": "supervise", "event": "run.ready"}\n'
PLAIN = "06:38:30.691 info    supervise        run.ready\n"


@pytest.mark.parametrize(
    ("form", "lines", "is_told"),
    [("console", PLAIN, True), ("console", PLAIN + OWN, False), ("json", PLAIN, False), ("json", OWN, False)],
)
def test_a_log_for_terminals_is_said_to_be_why_none_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, lines: str, is_told: bool
) -> None:
    profile, log = tmp_path / "profile.toml", tmp_path / "log"
    profile.write_text(f'[device]\nid = "cart-1"\nsite = "trial"\n[log]\nformat = "{form}"\n')
    log.write_text(lines)
    assert run(["support", str(profile), "--no-doctor", "--log", str(log), "--out", str(tmp_path / "s.zip")]) == 0
    out = capsys.readouterr().out
    assert ('with "json" they would be here' in out) == is_told
    assert ("lines that are not edgeai's own JSON" in out) == (PLAIN in lines)
