"""What the processor means for models in int8: whether it can add products of bytes in 32 bits at once.

Without that, OpenVINO's kernels for x86 add two products of an activation (0 to 255) and a weight (-128 to 127) in 16
bits, where what is too much is cut off without a word. Of weights of half the range no two products are too much.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import BackendError
from edgeai_openvino.engine import AUTO, load

X86: Final = ("avx_vnni", "avx512_vnni", "amx_int8")
ARM: Final = ("asimddp", "i8mm")
_FLAGS: Final = {"flags": X86, "Features": ARM}
"""What Linux calls a processor's flags -> those that int8 wants, any one of them."""
_CPUINFO: Final = Path("/proc/cpuinfo")
_HALF: Final = 64


def caution(artifact: Path, device: str) -> BackendError | None:
    """What int8 means on this machine's CPU, where that lacks instructions for it; ``None`` where nothing is known.

    The error is returned: ``backend.int8-overflows`` where answers may be wrong, ``backend.int8-slow``, without a
    remedy, where they only take longer.
    """
    lacks = lacking()
    if device not in ("CPU", AUTO) or not lacks:
        return None
    model = load().Core().read_model(artifact)
    if not any(node.get_type_name() == "FakeQuantize" for node in model.get_ordered_ops()):
        return None
    if lacks == X86 and not is_half(model):
        return BackendError(
            "int8 with weights of the whole range, and this processor has no VNNI: sums of a bright image may "
            "overflow, and nothing but the golden cases would show it",
            code="backend.int8-overflows",
            remedy="edgeai build --rebuild, which gives int8 weights half the range; or wish for another backend",
        )
    wanted = "VNNI" if lacks == X86 else "dotprod"
    return BackendError(f"this processor has no {wanted}: int8 is right and slower", code="backend.int8-slow")


def lacking(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """The flags of which the processor has none; nothing where it has one, or nobody says."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    for name, _, words in (line.partition(":") for line in lines):
        if wanted := _FLAGS.get(name.strip()):
            return () if set(wanted) & set(words.split()) else wanted
    return ()


def is_half(model: Any) -> bool:
    """Whether the model's weights are whole numbers of half the range of int8."""
    kept = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    whole = [node.data for node in kept if node.get_element_type().get_type_name() in ("i8", "u8") and node.data.size]
    return bool(whole) and all(np.abs(values.astype(np.int16)).max() <= _HALF for values in whole)
