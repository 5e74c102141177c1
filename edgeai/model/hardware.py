"""What of this machine an engine's speed depends on."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path


def hardware() -> dict[str, object]:
    """Processor, cores, memory, graphics and accelerator devices."""
    cpu = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = "; ".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))
    except OSError:
        cpu = platform.processor()
    devices = [str(path) for name in ("dri", "accel") for path in sorted(Path("/dev", name).glob("*"))]
    devices += [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    return {
        "machine": platform.machine(),
        "cpu": hashlib.sha256(cpu.encode()).hexdigest(),
        "cores": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "devices": devices,
    }
