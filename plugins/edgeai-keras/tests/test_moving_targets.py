"""Targets that do not move as masks do are made anew where a picture moves."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import MovableTargets

pytest.importorskip("tensorflow")

ROWS, COLUMNS = 48, 64


class Spots(dict):
    """Where a bright spot is, as (x, y): targets that know where a moved picture has it, if it still has it."""

    def at(self, places):
        return Spots({name: value[places] for name, value in self.items()})

    def moved(self, affines):
        there = np.stack([np.linalg.solve(a[:, :2], at - a[:, 2]) for a, at in zip(affines, self["spot"], strict=True)])
        known = ((there > 6) & (there < (COLUMNS - 6, ROWS - 6))).all(axis=1)
        return {"spot": there.astype(np.float32)}, known


def _spots(count, low=0.2, high=0.8):
    random = np.random.default_rng(3)
    at = random.uniform(low, high, (count, 2)) * (COLUMNS, ROWS)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS] + 0.5
    away = (x - at[:, :1, None]) ** 2 + (y - at[:, 1:, None]) ** 2
    return 0.3 + 0.6 * np.exp(-away / 8.0)[..., None].astype(np.float32), Spots({"spot": at.astype(np.float32)})


def _brightest(pictures):
    """(n, 2): the middle of what is brightest."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS] + 0.5
    weight = np.clip(pictures[..., 0] - 0.45, 0, None)
    return np.stack([(weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (x, y)], axis=1)


@pytest.mark.parametrize(
    "options",
    [
        {"flip_horizontal": True, "flip_vertical": True},
        {"rotate_degrees": 40.0, "zoom": 0.3, "stretch": 0.2, "shift": 0.1, "flip_vertical": True},
    ],
)
def test_they_are_told_where_the_picture_went(options):
    from edgeai_keras.augment import Augmentation

    pictures, targets = _spots(40)
    assert isinstance(targets, MovableTargets)
    inputs, told = Augmentation(options, 5)(({"image": pictures}, targets))
    assert np.abs(told["spot"] - targets["spot"]).max() > 5, "nothing moved"
    np.testing.assert_allclose(_brightest(inputs["image"]), told["spot"], atol=0.4)


def test_a_picture_of_which_nobody_can_say_it_stays_and_the_others_move():
    from edgeai_keras.augment import Augmentation

    pictures, targets = _spots(12)

    class Half(Spots):
        def at(self, places):
            return Half(super().at(places))

        def moved(self, affines):
            made, known = super().moved(affines)
            return made, known & (self["spot"][:, 0] > COLUMNS / 2)

    change = Augmentation({"zoom": 0.3, "shift": 0.1}, 5)
    inputs, told = change(({"image": pictures}, Half(targets)))
    left = targets["spot"][:, 0] <= COLUMNS / 2
    np.testing.assert_allclose(inputs["image"][left], pictures[left], atol=1e-6)
    np.testing.assert_array_equal(told["spot"][left], targets["spot"][left])
    assert np.abs(inputs["image"][~left] - pictures[~left]).reshape((~left).sum(), -1).max(axis=1).min() > 0.05
    assert change.still == left.sum()


def test_what_comes_in_from_outside_is_dark_and_no_mirror():
    from edgeai_keras.augment import Augmentation

    pictures, targets = _spots(30, 0.12, 0.2)  # beside an edge, which would mirror it
    inputs, _ = Augmentation({"shift": 0.3}, 5)(({"image": pictures}, targets))
    mass = np.clip(inputs["image"] - 0.45, 0, None).sum((1, 2, 3)) / np.clip(pictures - 0.45, 0, None).sum((1, 2, 3))
    assert mass.max() < 1.1
    np.testing.assert_allclose(inputs["image"].min((1, 2, 3)), pictures.min((1, 2, 3)), atol=1e-5)


def test_folds_keep_them_movable():
    from edgeai_keras.folding import part, shuffled

    pictures, targets = _spots(10)
    assert isinstance(part(targets, np.arange(4)), MovableTargets)
    for inputs, told in shuffled({"image": pictures}, targets, 4, 1)():
        assert isinstance(told, MovableTargets)
        np.testing.assert_allclose(_brightest(inputs["image"]), told["spot"], atol=0.4)


def test_the_same_seed_moves_them_alike_and_a_state_goes_on():
    from edgeai_keras.augment import Augmentation

    pictures, targets = _spots(8)
    options = {"zoom": 0.3, "shift": 0.3, "rotate_degrees": 20.0}
    one, other = Augmentation(options, 5), Augmentation(options, 5)
    one(({"image": pictures}, targets))
    other.state = one.state
    again = [change(({"image": pictures}, targets))[1]["spot"] for change in (one, other)]
    np.testing.assert_array_equal(*again)
