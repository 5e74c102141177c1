"""What ``prune-channels`` can be asked for, and what it makes of the answers. Imports no Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeai.api import CompressionFailed, Options, OptionSpec
from edgeai_keras.options import Given
from edgeai_keras.tuning import Tuning
from edgeai_keras.tuning import options as tuning_options

if TYPE_CHECKING:
    from typing import Any

TARGETS = ("flops", "parameters", "latency")

OPTIONS = (
    OptionSpec(name="flops", help="fraction of the parent's floating-point operations to keep, as 0.5; or give"),
    OptionSpec(name="parameters", help="fraction of the parent's parameters to keep; or give"),
    OptionSpec(
        name="latency",
        help="fraction of the parent's time to keep, measured on the build host: float32, batch 1, one thread, LiteRT"
        " where installed, else Keras; two builds may come to different models",
    ),
    OptionSpec(
        name="scope",
        help="global: channels go where it hurts least for what it saves; layer: the same share of every layer",
        default="global",
        choices=("global", "layer"),
    ),
    OptionSpec(
        name="importance",
        help="of a channel: l2 or l1 norm of its filters scaled by the batch normalisation that follows, bn-gamma, or"
        " taylor (first order, on at most 32 training batches)",
        default="l2",
        choices=("l2", "l1", "bn-gamma", "taylor"),
    ),
    OptionSpec(
        name="round_to",
        help="channels left are a multiple of this: engines compute so many at once, fewer cost as much as"
        " all (8 on ARM, 16 on x86 with AVX-512); 0: 16, or 8, 4, 2 or 1 where 16 misses the target",
        default=0,
    ),
    OptionSpec(name="min_channels", help="fewest channels of a layer", default=4),
    OptionSpec(
        name="keep",
        help="names of layers whose channels all stay (model/layer in a nested model); named here, a layer that"
        " cannot be followed is given all its channels",
        default=(),
    ),
    OptionSpec(
        name="unknown",
        help="a layer that channels cannot be followed through: refuse it by name, or keep all channels it is given",
        default="refuse",
        choices=("refuse", "keep"),
    ),
    OptionSpec(name="steps", help="rounds of pruning and fine-tuning", default=1),
    *tuning_options(epochs=10, patience=3, learning_rate=1e-3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options, checked; names as in ``OPTIONS``. ``fraction`` is what ``target`` is to come to."""

    target: str
    fraction: float
    tuning: Tuning
    scope: str
    importance: str
    round_to: int
    min_channels: int
    keep: tuple[str, ...]
    unknown: str
    steps: int


def plan_of(options: Options) -> Plan:
    """Check a step's options.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.target-invalid``.
    """
    given = Given("prune-channels", OPTIONS, options)
    target, fraction = _target({name: options[name] for name in TARGETS if options.get(name) is not None})
    return Plan(
        target=target,
        fraction=fraction,
        tuning=Tuning.of(given),
        scope=given.word("scope"),
        importance=given.word("importance"),
        round_to=given.count("round_to", 0),
        min_channels=given.count("min_channels", 1),
        keep=given.names("keep"),
        unknown=given.word("unknown"),
        steps=given.count("steps", 1),
    )


def _target(given: dict[str, Any]) -> tuple[str, float]:
    if len(given) != 1:
        raise CompressionFailed(
            f"prune-channels: one target is needed, and {' and '.join(given) or 'none'} given",
            code="compress.target-invalid",
            remedy="give one of flops, parameters and latency, as flops = 0.5",
        )
    [(name, value)] = given.items()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
        raise CompressionFailed(
            f"prune-channels: {name} is {value!r}",
            code="compress.target-invalid",
            remedy="give the fraction of the parent's to keep, over 0 and under 1",
        )
    return name, float(value)
