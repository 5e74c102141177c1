"""The compressor ``prune-channels``, as it is registered. Importing this imports no Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeai.api import Compressed, CompressionFailed, CompressorSpec, CompressRequest
from edgeai_keras.channels.options import OPTIONS, plan_of

if TYPE_CHECKING:
    from edgeai_keras.channels.prune import Pruned

_MOST_NAMED = 12
"""More layers than this are summed up in the notes."""


def compress(request: CompressRequest) -> Compressed:
    """Write a smaller model with fewer channels, fine-tuned where there are training batches.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.target-invalid``, ``compress.target-unreachable``,
            ``compress.layer-unfollowed``, ``compress.layer-unknown``, and as ``loading.load`` and ``training.fit``.
    """
    plan = plan_of(request.options)
    try:
        from edgeai_keras.channels.prune import prune
        from edgeai_keras.loading import load
        from edgeai_keras.training import save, set_seed
    except ModuleNotFoundError as error:
        raise CompressionFailed(
            f"compressing needs {error.name}, which is not installed",
            code="compress.engine-missing",
            remedy="pip install edgeai-keras",
        ) from error
    set_seed(request.seed)
    pruned = prune(load(request.model), plan, request)
    save(pruned.model, request.output)
    return Compressed(model=request.output, notes=(*_widths(pruned), *pruned.notes), facts=_facts(pruned))


def _widths(pruned: Pruned) -> list[str]:
    lines = [f"pruned {layer} from {was} to {now} channels" for layer, (was, now) in pruned.widths.items()]
    if len(lines) <= _MOST_NAMED:
        return lines
    most = sorted(pruned.widths.items(), key=lambda item: item[1][1] / item[1][0])[:_MOST_NAMED]
    was, now = (sum(pair[place] for pair in pruned.widths.values()) for place in (0, 1))
    named = ", ".join(f"{layer} {before} -> {after}" for layer, (before, after) in most)
    return [f"pruned {len(lines)} layers from {was} to {now} channels in all; most: {named}"]


def _facts(pruned: Pruned) -> dict[str, float]:
    before, after = pruned.before, pruned.after
    return {
        "parameters_before": float(before.parameters),
        "parameters": float(after.parameters),
        "flops_before": float(before.flops),
        "flops": float(after.flops),
        "macs_before": float(before.macs),
        "macs": float(after.macs),
        **pruned.facts,
    }


SPEC = CompressorSpec(
    name="prune-channels",
    compress=compress,
    options=OPTIONS,
    help="Really removes channels: follows them through the model's graph, drops those that matter least until a FLOP,"
    " parameter or latency target is met, and fine-tunes. The result is an ordinary, smaller model.",
)
