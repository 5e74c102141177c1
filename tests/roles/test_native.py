"""The log is JSON lines whatever native libraries print, and says of which image they spoke."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from edgeai import logs
from edgeai.roles import native

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
        [sys.executable, "-c", PROGRAM.format(lines=lines)], capture_output=True, text=True, timeout=600
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


ALL_ALONG = """
import ctypes, os, subprocess, sys, threading
from edgeai import logs
from edgeai.roles.native import Rest, keep_the_log_apart, told_as_one
keep_the_log_apart()
logs.configure("publish")
rest = Rest()
log = logs.Log("edgeai.publish")
thread = threading.Thread(target=lambda: os.write(1, b"by a thread "))
thread.start()
thread.join()
with told_as_one(job=7):
    os.write(2, b"for the job")
subprocess.run([sys.executable, "-c", "import os; os.write(2, b'by a child ')"])
print("by Python ", end="", flush=True)
for _ in range({lines}):
    os.write(2, b"a line of a flood\\n")
log.info("as.always")
ctypes.CDLL(None).puts(b"by C, held in its buffer")
rest.close()
"""


@pytest.mark.parametrize("lines", [0, 200_000])
def test_whatever_is_printed_at_any_other_time_is_a_record_too(lines):
    program = ALL_ALONG.format(lines=lines)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    rows = [json.loads(line) for line in done.stderr.splitlines()]
    assert [row["event"] for row in rows if row["event"] != "native.printed"] == ["as.always"]
    assert [row["text"] for row in rows if row.get("job") == 7] == ["for the job"]
    printed = [row for row in rows if row["event"] == "native.printed" and "job" not in row]
    flood = lines * len("a line of a flood\n")
    words = ("by a thread ", "by a child ", "by Python ", "by C, held in its buffer\n")
    assert sum(row["bytes"] for row in printed) == flood + sum(map(len, words))
    told = " ".join(row["text"] for row in printed)
    assert lines or all(word.strip() in told for word in words)


def test_the_log_of_a_trial_and_of_a_sink_is_json_too(cart: Any, until: Any) -> None:
    cart.add_backend("loud", how="prints", prelude="import os\nos.write(2, b'loaded')")
    cart.backends = ("loud", "fake-works")
    trials = "[supervise]\nrestart_min_s = 0.05\nrestart_max_s = 0.5\ntrial_after_s = 0.3\n"
    sink = f'[sinks.x]\nkind = "fake-prints"\n[sinks.x.settings]\npath = "{cart.folder}/x"\n'
    cart.configure(more=trials + sink)
    for _ in range(3):
        cart.spool.fault(plugin="loud", version="1.0", deployment="guard", step="run", cause="x", quarantine_after=3)
    cart.start()
    cart.result_of(cart.admit())
    until(lambda: cart.events("plugin.released"))
    [on_trial] = until(lambda: [row for row in cart.logged("native.printed") if row["role"] == "trial:guard"])
    assert (on_trial["plugin"], on_trial["deployment"]) == ("loud", "guard")
    assert "the fake was told to print" in on_trial["text"]
    until(lambda: any(row["role"] == "publish" for row in cart.logged("native.printed")))
    cart.stop()
    for line in cart.log.read_text().splitlines():
        assert json.loads(line)["event"], line


BESIDE = """
import os
from edgeai import logs
from edgeai.roles.native import keep_the_log_apart, told_as_one
keep_the_log_apart()
logs.configure("infer:guard")
first, second = told_as_one(job=7), told_as_one(job=8)
first.__enter__()
os.write(2, b"of seven")
second.__enter__()
os.write(2, b"of one of them")
first.__exit__(None, None, None)
os.write(1, b"of eight")
second.__exit__(None, None, None)
with told_as_one(job=9):
    pass
os.write(2, b"after all\\n")
"""


def test_what_is_printed_beside_another_job_names_both_and_what_comes_before_and_after_does_not():
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stderr.splitlines()
    told = [(row.get("job"), row.get("jobs"), row["text"], row["bytes"]) for row in map(json.loads, lines)]
    assert told == [(7, None, "of seven", 8), (None, [7, 8], "of one of them", 14), (8, None, "of eight", 8)]
    assert last == "after all"


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


def test_what_was_told_takes_no_memory_and_is_not_told_again(capsys):
    logs.configure("publish")
    file = native._File()
    for _ in range(3):
        os.write(file.number, b"x" * 1_000_000)
        file.tell()
        assert os.fstat(file.number).st_blocks * 512 <= 4096
    os.write(file.number, b"and then")
    file.tell(job=7)
    file.tell()
    rows = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(row["bytes"], row.get("job")) for row in rows] == [(1_000_000, None)] * 3 + [(8, 7)]
    assert rows[-1]["text"] == "and then"
    file.close()
