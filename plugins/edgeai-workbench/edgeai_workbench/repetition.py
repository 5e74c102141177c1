"""Whether a training gave the weights that the card has: byte by byte where that can be, by value where it cannot.

The same script with the same samples and versions gives the same bytes on the same kind of processor. On another kind
it does not: TensorFlow and its libraries choose their kernels by instruction set, these add in another order, and
rounding differs in the last bits, which training then multiplies. So the processor is recorded, and weights that
differ are held against the old ones by what they answer to the golden cases.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeai_workbench.golden import Golden

CPUINFO = Path("/proc/cpuinfo")
_KERNELS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)
"""Instruction sets by which a library chooses a kernel, as ``/proc/cpuinfo`` names them on x86 and Arm."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS")
"""Variables that make TensorFlow take fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What is known of a training: the digest of its weights, and all that decides them.

    Attributes:
        model: digest of the ``.keras`` file.
        data: digest of the samples; ``None`` where it is not known.
        processor: as ``processor`` says it; ``None`` where it was not recorded.
        environment: distribution -> version.
        golden: what the weights answer to drawn inputs.
    """

    model: str
    data: str | None = None
    processor: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    golden: Sequence[Golden] = ()


def processor(cpuinfo: Path = CPUINFO) -> str:
    """This machine's processor, the cores that this process may use, and what decides which kernels are taken."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for name, colon, value in (line.partition(":") for line in lines):
        if colon:
            facts.setdefault(name.strip(), value.strip())
    arm = [f"{what} {facts[f'CPU {what}']}" for what in ("implementer", "part") if f"CPU {what}" in facts]
    name = facts.get("model name") or " ".join(arm) or platform.processor() or "unknown"
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    kernels = " ".join(each for each in _KERNELS if each in flags) or "instruction sets unknown"
    limits = [f"{variable}={os.environ[variable]}" for variable in _LIMITS if variable in os.environ]
    cores = len(os.sched_getaffinity(0))
    return ", ".join([f"{name} ({platform.machine()})", f"{cores} cores", kernels, *limits])


def repetition(old: Recorded, new: Recorded) -> str:
    """One sentence or two: the same weights again, or others, and what may have made them so."""
    if new.model == old.model:
        return "The same weights as the card had, byte by byte."
    differs = [
        *_difference("processor", old.processor, new.processor),
        *(["other samples"] if None not in (old.data, new.data) and old.data != new.data else []),
        *(
            reason
            for name in sorted({*old.environment, *new.environment})
            for reason in _difference(name, old.environment.get(name), new.environment.get(name))
        ),
    ]
    why = "; ".join(differs) or "though samples, versions and processor are those recorded: was the script changed?"
    return " ".join([f"Other weights than the card had: {why}.", *_farthest(old.golden, new.golden)])


def _difference(what: str, old: str | None, new: str | None) -> list[str]:
    if old == new:
        return []
    return [f"{what} was {old or 'not recorded'}, is {new or 'not there'}"]


def _farthest(old: Sequence[Golden], new: Sequence[Golden]) -> list[str]:
    """How far answers to the same inputs lie apart; nothing when the inputs are not the same."""
    theirs = {case.id: case for case in old}
    off, span = 0.0, 0.0
    for case in new:
        other = theirs.get(case.id)
        if other is None or not _alike(case.inputs, other.inputs):
            return []
        for name, answer in case.outputs.items():
            if name not in other.outputs or other.outputs[name].shape != answer.shape:
                return []
            off = max(off, float(np.abs(answer.astype(np.float64) - other.outputs[name]).max(initial=0.0)))
            span = max(span, float(np.abs(other.outputs[name]).max(initial=0.0)))
    if not new:
        return []
    return [f"Answers to the golden cases are off by {off:.3g} at most, where the largest is {span:.3g}."]


def _alike(mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> bool:
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)
