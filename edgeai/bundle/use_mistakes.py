"""What the types of schema 2 cannot say: uses that contradict one another, or name what is not there. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Final

from edgeai.bundle.uses import AttributeFeed, AttributeUse, ImageFeed, StateFeed

if TYPE_CHECKING:
    from edgeai.bundle.manifest import Manifest

_TEXTS: Final = frozenset(
    {
        "modality",
        "body_part_examined",
        "view_position",
        "laterality",
        "photometric_interpretation",
        "manufacturer",
        "manufacturer_model_name",
        "patient_sex",
    }
)
"""Attributes whose values are words; the others are numbers."""


def use_mistake(manifest: Manifest) -> str:
    """The first thing that makes no sense, as the end of a sentence; empty where all does."""
    return next(chain(_of_unit(manifest), _of_feeds(manifest), _of_guard(manifest), _of_outputs(manifest)), "")


def members(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(who names it, path) of each file that only schema 2 names."""
    for what, path in (("evidence", manifest.evidence), ("change_control", manifest.change_control)):
        if path is not None:
            yield what, path
    if manifest.guard is not None and manifest.guard.distance is not None:
        yield "guard.distance", manifest.guard.distance.parameters


def taken_outputs(manifest: Manifest) -> list[str]:
    """Outputs that are not the task's: states, features of the guard, maps."""
    states = [feed.output for feed in manifest.feeds.values() if isinstance(feed, StateFeed)]
    distance = manifest.guard.distance if manifest.guard is not None else None
    features = [distance.output] if distance is not None else []
    return [*states, *features, *(use.output for use in manifest.explanations)]


def _of_unit(manifest: Manifest) -> Iterator[str]:
    unit = manifest.unit
    if (unit.kind == "clip") != (unit.clip is not None):
        yield f"unit: clip goes with the kind clip, and the kind is {unit.kind}"
    gathered = unit.kind in {"series", "study"} or (unit.clip is not None and unit.clip.source == "series")
    if gathered != (unit.gathering is not None):
        yield f"unit: gathering goes with what is gathered from several instances, and the kind is {unit.kind}"


def _of_feeds(manifest: Manifest) -> Iterator[str]:
    inputs = {tensor.name: tensor for tensor in manifest.inputs}
    outputs = {tensor.name: tensor for tensor in manifest.outputs}
    feeds = manifest.feeds
    if unknown := sorted(set(feeds) - set(inputs)):
        yield f"feeds: {unknown[0]} is no input"
    if not feeds:
        return
    if without := [name for name in inputs if name not in feeds]:
        yield f"feeds: nothing says where input {without[0]} comes from"
    images = [feed for feed in feeds.values() if isinstance(feed, ImageFeed)]
    if not any(feed.required for feed in images):
        yield "feeds: no input is an image that must be there"
    if manifest.unit.gathering is None and not all(feed.required for feed in images):
        yield "feeds: an input that need not be there goes with a unit that is gathered"
    for name, feed in feeds.items():
        if isinstance(feed, AttributeFeed):
            yield from _of_attributes(name, feed, inputs[name].shape)
        elif isinstance(feed, StateFeed):
            source = outputs.get(feed.output)
            if source is None or (source.dtype, source.shape) != (inputs[name].dtype, inputs[name].shape):
                yield f"feeds.{name}: output {feed.output} is not there, or is not such a tensor"


def _of_attributes(name: str, feed: AttributeFeed, shape: tuple[int | None, ...]) -> Iterator[str]:
    for use in feed.attributes:
        if why := _unfit(use):
            yield f"feeds.{name}: {use.keyword} {why}"
    keywords = [use.keyword for use in feed.attributes]
    if len(set(keywords)) != len(keywords):
        yield f"feeds.{name}: an attribute stands there twice"
    numbers = sum(len(use.values) if use.encode == "one-hot" else 1 for use in feed.attributes)
    extents = [extent for extent in shape if extent is not None]
    if len(extents) == len(shape) and prod(extents) != numbers:
        yield f"feeds.{name}: its attributes are {numbers} numbers, the tensor takes {prod(extents)}"


def _unfit(use: AttributeUse) -> str:
    if use.encode == "number":
        if use.keyword in _TEXTS:
            return "is a word, and not a number"
        return "as a number has no values" if use.values else "times 0 says nothing" if use.scale == 0.0 else ""
    if use.keyword not in _TEXTS:
        return "is a number, and not one of some words"
    if not use.values or len(set(use.values)) != len(use.values):
        return "has no values, or one of them twice"
    return "as one-hot has neither offset nor scale" if (use.offset, use.scale) != (0.0, 1.0) else ""


def _of_guard(manifest: Manifest) -> Iterator[str]:
    if manifest.guard is None:
        return
    model, abstention = manifest.guard.model, manifest.guard.abstention
    if model is not None and len(set(model.admit)) != len(model.admit):
        yield "guard.model: a label is admitted twice"
    if abstention is not None and (abstention.by is None) != (not abstention.quantiles):
        yield "guard.abstention: by and quantiles go together"


def _of_outputs(manifest: Manifest) -> Iterator[str]:
    taken = taken_outputs(manifest)
    outputs = [tensor.name for tensor in manifest.outputs]
    if unknown := [name for name in taken if name not in outputs]:
        yield f"{unknown[0]} is no output"
    if len(set(taken)) != len(taken):
        yield f"an output is taken twice: {', '.join(taken)}"
    if not set(outputs) - set(taken):
        yield "no output is left for the task"
