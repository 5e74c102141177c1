"""The log is JSON lines whatever native libraries print, and says of which image they spoke."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import ctypes, os
from edgeai import logs
from edgeai.roles.native import keep_the_log_apart, told_as_one
keep_the_log_apart()
logs.configure("infer:guard")
libc = ctypes.CDLL(None)
log = logs.Log("edgeai.roles.infer")
with told_as_one(job=7):
    libc.puts(b"[ERROR] by C, held in its buffer")
    os.write(2, b"[WARNING] tile-part 3\\n" * {lines})
    log.info("job.begun", job=7)
with told_as_one(job=8):
    pass
try:
    with told_as_one(job=9):
        os.write(1, b"and then it raised\\n")
        raise LookupError
except LookupError:
    log.info("job.failed", job=9)
"""


def records(lines: int = 1) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(lines=lines)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_of_the_log_is_ours_and_names_the_image():
    rows = [(row["event"], row["job"]) for row in records()]
    assert rows == [("job.begun", 7), ("native.printed", 7), ("native.printed", 9), ("job.failed", 9)]


def test_what_was_printed_stands_in_the_record():
    [first, second] = [row for row in records() if row["event"] == "native.printed"]
    assert "tile-part 3" in first["text"]
    assert "by C, held in its buffer" in first["text"]
    assert second["text"] == "and then it raised"


def test_a_flood_is_one_record_cut_with_its_size():
    [first, _] = [row for row in records(lines=100_000) if row["event"] == "native.printed"]
    assert first["bytes"] > 2_000_000
    assert len(first["text"]) <= 500


def test_the_log_of_a_device_is_json_though_its_engine_prints(cart: Any, until: Any) -> None:
    cart.add_backend("loud", how="prints", prelude="import os\nos.write(2, b'loaded')")
    cart.backends = ("loud",)
    cart.configure()
    cart.start()
    cart.result_of(cart.admit())
    until(lambda: any("job" in row for row in cart.logged("native.printed")))
    at_opening, at_work = cart.logged("native.printed")
    assert at_opening["deployment"] == "guard"
    assert "the fake was told to print" in at_work["text"]
    assert at_work["job"] == 1
    cart.stop()
    for line in cart.log.read_text().splitlines():
        assert json.loads(line)["event"], line
