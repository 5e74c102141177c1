"""What in an OpenVINO IR outlives a run: variables that it assigns, and random numbers that it draws.

Source: OpenVINO's operation sets (``ReadValue-6``, ``Assign-6``, ``RandomUniform-8``, ``Multinomial-13``). An infer
request keeps the values of variables until its state is reset. A random operation goes on with its own sequence from
one run to the next, with seeds too.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api import ModelRejected

_VARIABLES: Final = ("Assign", "ReadValue")
_RANDOM: Final = ("Multinomial", "RandomUniform")
# In the file and not in the loaded model: the bodies of loops and branches stand in it as all else does.
_LAYER_TYPE: Final = re.compile(rf"""\btype\s*=\s*["']({"|".join((*_VARIABLES, *_RANDOM))})["']""".encode("ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What of a run the next one would meet.

    Attributes:
        variables: the model has some, which an infer request can reset.
        random: operations that draw random numbers.
    """

    variables: bool = False
    random: tuple[str, ...] = ()


def kept_by(artifact: Path) -> Kept:
    """What the model of an ``.xml``, which the engine has read, keeps for its next run."""
    with artifact.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        kinds = {match[1].decode("ascii") for match in _LAYER_TYPE.finditer(text)}
    return Kept(
        variables=any(kind in kinds for kind in _VARIABLES),
        random=tuple(kind for kind in _RANDOM if kind in kinds),
    )


def refuse_random(artifact: Path, kept: Kept) -> None:
    """Raise ``ModelRejected``, ``backend.random``, for a model that draws random numbers."""
    if kept.random:
        raise ModelRejected(
            f"{artifact.name} draws random numbers ({', '.join(kept.random)}): the same image would give another "
            "answer each time",
            code="backend.random",
            remedy="convert it as it is for inference: without dropout, noise or sampling",
        )


def cannot_reset(artifact: Path, device: str, error: BaseException) -> ModelRejected:
    """``backend.stateful``: the engine keeps the model's variables on this device, whatever it is told."""
    return ModelRejected(
        f"{artifact.name} keeps state from one image to the next, and OpenVINO cannot reset it on {device}: "
        f"{' '.join(str(error).split())}",
        code="backend.stateful",
        remedy="use another device, or convert a model that keeps nothing (Keras: stateful=False)",
    )
