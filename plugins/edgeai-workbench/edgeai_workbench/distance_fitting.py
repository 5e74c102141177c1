"""What ships, asked of its training images: what ``[guard.distance]`` of the card is to hold its answers to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from edgeai_workbench.comparison import opened
from edgeai_workbench.convert import ARTIFACTS, backend_of
from edgeai_workbench.distances import features_of, fitted, keep, units_of
from edgeai_workbench.pack import Made
from edgeai_workbench.workshop import Workshop


def with_distances(shop: Workshop, made: Sequence[Made], progress: Callable[[str], None]) -> list[Made]:
    """The artifacts, those that ship with what their answers are held to; kept in the card's folder.

    Raises:
        EdgeaiError: an artifact cannot be opened or run.
    """
    use, train, validation = shop.card.guard.distance, shop.train, shop.validation
    if use is None:
        return list(made)
    assert train is not None
    assert validation is not None
    ships = {recipe.id for recipe in shop.card.shipped}
    units = len(set(units_of(validation)))
    fits, paths = {}, {}
    for one in made:
        name = one.artifact.id
        if name not in ships:
            continue
        progress(f"{name}: features of {len(train)} samples of train and {len(validation)} of validation")
        paths[name] = shop.folder / ARTIFACTS / name
        with ExitStack() as stack:
            backend = backend_of(shop.registry, one.artifact.format)
            path = paths[name] / one.artifact.path
            session = opened(stack, shop, backend, path, one.artifact.options, one.model.added)
            features = [features_of(each, session.run, use.output) for each in (train, validation)]
        fits[name] = fitted(features[0], units_of(train), features[1], units, use.true_accept)
    distances = keep(shop.folder, use, paths, fits)
    return [replace(one, distance=distances.get(one.artifact.id)) for one in made]
