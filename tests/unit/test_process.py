"""What a process does for itself, seen from outside: in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_ROUNDS = 20
_IMAGES = f"""
import resource
{{first}}
def image():
    parts = [b"x" * 340_000 for _ in range(8)]
    while parts:
        parts.pop()  # the last first, so that all of it lies free at the top
image()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({_ROUNDS}):
    image()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _IMAGES.format(first=first)], capture_output=True, text=True, check=True, env={}
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has rules of its own")
def test_memory_that_an_image_leaves_is_there_for_the_next() -> None:
    assert _faults("") > 100 * _ROUNDS, "without, the kernel takes it each time: else this test says nothing"
    kept = _faults("from edgeai.process import keep_freed_memory; keep_freed_memory()")
    assert kept < 10 * _ROUNDS
