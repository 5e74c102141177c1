"""Training: the same request gives the same weights, the best are kept, and files have settled bytes."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from edgeai.api import CompressionFailed, ConfigError, Objective

pytest.importorskip("tensorflow")


@pytest.fixture
def classifier_data(samples, batches):
    return batches(*samples("classifier", 64, 1)), batches(*samples("classifier", 32, 2))


def _fit(model, data, **changes):
    from edgeai_keras.training import fit

    usual = {
        "epochs": 3,
        "patience": 3,
        "learning_rate": 0.005,
        "objective": Objective(loss="categorical-crossentropy"),
    }
    return fit(model, train=data[0], validation=data[1], **{**usual, **changes})


@pytest.mark.parametrize(
    ("loss", "from_logits", "wanted"),
    [
        ("categorical-crossentropy", False, -np.log(0.7)),
        ("categorical-crossentropy", True, np.log(np.exp([0.7, 0.2, 0.1]).sum()) - 0.7),
        ("binary-crossentropy", False, -(np.log(0.7) + np.log(0.8) + np.log(0.9)) / 3),
        ("mean-squared-error", False, (0.09 + 0.04 + 0.01) / 3),
        ("mean-absolute-error", False, (0.3 + 0.2 + 0.1) / 3),
    ],
)
def test_losses_are_those_of_the_textbook(loss, from_logits, wanted):
    from edgeai_keras.training import loss_of

    truth, answer = np.array([[1.0, 0.0, 0.0]], "float32"), np.array([[0.7, 0.2, 0.1]], "float32")
    got = float(loss_of(Objective(loss=loss, from_logits=from_logits))(truth, answer))
    assert got == pytest.approx(wanted, rel=1e-5)


def test_a_loss_by_formula_is_what_numpy_makes_of_it_and_what_a_model_learns_by():
    """A task that has never heard of Keras says what is minimised; float64 truths meet float32 answers."""
    from edgeai_keras.training import loss_of

    def formula(ops, truth, answer):
        off = ops.abs(truth - answer)
        return ops.mean(ops.where(off < 1.0, 0.5 * off * off, off - 0.5), axis=-1)

    truth, answer = np.array([[1.0], [0.0], [2.0]]), np.array([[0.5], [3.0], [2.0]], "float32")
    result = np.asarray(loss_of(Objective(loss="my-huber", formula=formula))(truth, answer))
    np.testing.assert_allclose(result, formula(np, truth, answer), rtol=1e-6)
    np.testing.assert_allclose(result, [0.125, 2.5, 0.0])


def test_the_mask_loss_is_the_mean_of_dice_and_crossentropy_and_the_same_for_logits():
    from edgeai_keras.training import loss_of

    truth = np.zeros((1, 2, 2, 1), "float32")
    truth[0, 0] = 1
    logits = np.array([2.0, 1.0, -1.0, -3.0], "float32").reshape(1, 2, 2, 1)
    soft = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (truth * soft).sum() + 1) / (truth.sum() + soft.sum() + 1)
    cross = -np.mean(truth * np.log(soft) + (1 - truth) * np.log(1 - soft))
    of_logits = loss_of(Objective(loss="dice-binary-crossentropy", from_logits=True))(truth, logits)
    of_soft = loss_of(Objective(loss="dice-binary-crossentropy"))(truth, soft.astype("float32"))
    np.testing.assert_allclose([of_logits[0], of_soft[0]], (dice + cross) / 2, rtol=1e-5)


def test_an_unknown_loss_is_refused_by_name():
    from edgeai_keras.training import loss_of

    with pytest.raises(CompressionFailed, match="hinge") as refused:
        loss_of(Objective(loss="hinge"))
    assert refused.value.code == "compress.loss-unknown"


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(build, classifier_data, tmp_path):
    from edgeai_keras.training import save

    digests = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = build("classifier")
        _fit(model, classifier_data, seed=seed, epochs=2, augment={"rotate_degrees": 20.0, "noise": 0.1})
        if name == "b":
            time.sleep(2.1)  # a zip's times are exact to two seconds
        save(model, tmp_path / f"{name}.keras")
        digests[name] = hashlib.sha256((tmp_path / f"{name}.keras").read_bytes()).hexdigest()
    assert digests["a"] == digests["b"] != digests["c"]


def test_a_saved_model_answers_as_before_and_carries_no_optimizer(keras, build, classifier_data, samples, tmp_path):
    from edgeai_keras.training import predict, save

    model = build("classifier")
    _fit(model, classifier_data, epochs=1)
    save(model, tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert not getattr(again, "compiled", False)
    assert model.compiled
    assert model.optimizer is not None
    inputs, _ = samples("classifier", 8, 4)
    np.testing.assert_array_equal(predict(again, inputs)["probabilities"], predict(model, inputs)["probabilities"])
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_addresses_of_objects_are_not_in_a_file(keras, tmp_path):
    """Keras numbers what occurs twice (a layer in two models, its dtype policy) by its address."""
    from edgeai_keras.training import save

    kept = []  # or the second would have the addresses of the first
    for number in range(2):
        keras.utils.set_random_seed(1)
        tied, rows = keras.layers.Dense(4, name="tied"), keras.Input((4,), name="rows")
        inner = [keras.Sequential([keras.Input((4,), name=f"in_{n}"), tied], name=f"inner_{n}") for n in range(2)]
        model = keras.Model(rows, keras.layers.Add(name="sum")([part(rows) for part in inner]), name="twice")
        save(model, tmp_path / f"{number}.keras")
        kept.append(model)
    assert (tmp_path / "0.keras").read_bytes() == (tmp_path / "1.keras").read_bytes()


def test_the_best_weights_are_kept_and_patience_ends_it(build, classifier_data, samples, batches):
    from edgeai_keras.training import loss_of, predict

    model = build("classifier")
    inputs, targets = samples("classifier", 64, 1)
    odd = {"probabilities": np.random.default_rng(1).permutation(targets["probabilities"])}  # nothing to learn
    data = (batches(inputs, odd), classifier_data[1])
    history = _fit(model, data, epochs=30, patience=2, learning_rate=0.01, schedule="constant")
    assert history.epochs < 30
    assert history.epochs - history.best_epoch == 2
    assert history.best_epoch == 1 + int(np.argmin(history.validation_loss))
    inputs, targets = samples("classifier", 32, 2)
    loss = loss_of(Objective(loss="categorical-crossentropy"))
    now = float(loss(targets["probabilities"], predict(model, inputs)["probabilities"]))
    assert now == pytest.approx(min(history.validation_loss), rel=1e-4)


def test_epochs_before_the_first_allowed_are_never_the_best(build, classifier_data):
    history = _fit(build("classifier"), classifier_data, epochs=6, learning_rate=1.0, first_epoch=5, patience=1)
    assert history.best_epoch >= 5


def test_without_validation_all_epochs_run_and_the_last_is_kept(build, classifier_data):
    history = _fit(build("classifier"), (classifier_data[0], None), epochs=2)
    assert (history.epochs, history.best_epoch, history.validation_loss) == (2, 2, ())


def test_a_line_an_epoch_says_how_far_it_is(build, classifier_data):
    lines = []
    _fit(build("classifier"), classifier_data, epochs=2, progress=lines.append)
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1 of 2: loss ")
    assert ", validation " in lines[0]
    assert lines[0].endswith(" s")


def test_batch_normalisation_keeps_up_with_few_batches_and_its_own_momentum(build, classifier_data, keras):
    model = build("classifier")
    _fit(model, (classifier_data[0], None), epochs=6, learning_rate=0.01)  # 24 steps
    norm = model.get_layer("norm")
    assert norm.momentum == 0.99
    seen = keras.Model(model.input, model.get_layer("first").output)(
        np.concatenate([inputs["image"] for inputs, _ in classifier_data[0]()])
    )
    means, spreads = np.mean(seen, axis=(0, 1, 2)), np.std(seen, axis=(0, 1, 2))
    trail = np.abs(keras.ops.convert_to_numpy(norm.moving_mean) - means) / spreads
    assert trail.max() < 0.2


def test_training_learns(build, classifier_data, samples):
    from edgeai_keras.training import predict

    model = build("classifier")
    _fit(model, classifier_data, epochs=10, patience=10)
    inputs, targets = samples("classifier", 64, 3)
    right = predict(model, inputs)["probabilities"].argmax(1) == targets["probabilities"].argmax(1)
    assert right.mean() > 0.9


def test_tensors_are_matched_by_name_whatever_their_order(keras, batches):
    image, age = keras.Input((4,), name="image"), keras.Input((2,), name="age")
    score = keras.layers.Dense(1, name="score")(keras.layers.Concatenate()([image, age]))
    other = keras.layers.Dense(2, name="other")(image)
    model = keras.Model([image, age], {"score": score, "other": other})
    ones = np.ones((4, 1), "float32")
    data = batches({"age": ones * [1, 2], "image": ones * [1, 2, 3, 4]}, {"score": ones, "other": ones * [1, 1]})
    _fit(model, (data, data), objective=Objective(loss="mean-squared-error"), epochs=1)
    wrong = batches({"image": ones * [1, 2, 3, 4]}, {"score": ones, "other": ones * [1, 1]})
    with pytest.raises(CompressionFailed, match="2 inputs") as refused:
        _fit(model, (wrong, wrong), objective=Objective(loss="mean-squared-error"), epochs=1)
    assert refused.value.code == "compress.tensors-differ"


def test_no_batches_and_divergence_are_said(build, classifier_data, samples, batches):
    with pytest.raises(CompressionFailed) as refused:
        _fit(build("classifier"), (lambda: [], classifier_data[1]))
    assert refused.value.code == "compress.no-data"
    inputs, targets = samples("regressor", 16, 1)
    broken = batches({"image": inputs["image"] * np.nan}, targets)
    with pytest.raises(CompressionFailed, match="epoch 1") as refused:
        _fit(build("regressor"), (broken, None), objective=Objective(loss="mean-squared-error"))
    assert refused.value.code == "compress.diverged"


def test_cross_validation_keeps_groups_together_and_answers_for_every_sample_once(build, samples):
    from edgeai_keras.training import cross_validate

    inputs, targets = samples("classifier", 30, 1)
    groups = np.repeat(np.arange(10), 3)
    made = cross_validate(
        lambda: build("classifier"), inputs, targets, groups=groups, strata=targets["probabilities"].argmax(1), folds=3,
        objective=Objective(loss="categorical-crossentropy"), epochs=1, patience=1, learning_rate=0.001,
    )  # fmt: skip
    assert sorted(np.concatenate([fold.validation for fold in made])) == list(range(30))
    for fold in made:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert fold.outputs["probabilities"].shape == (len(fold.validation), 3)
    with pytest.raises(CompressionFailed, match="10 groups"):
        cross_validate(lambda: build("classifier"), inputs, targets, groups=groups, folds=11)


def test_folds_show_what_the_card_wants_shown():
    from edgeai_keras.folding import shuffled

    six = {"x": np.arange(6.0)}
    epoch = shuffled(six, six, 4, 1, lambda random: np.array([0, 1, 2, 3, 4, 5, 5, 5, random.integers(6)]))
    first, second = ([batch[0]["x"] for batch in epoch()] for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4, 1]
    values, counts = np.unique(np.concatenate(first), return_counts=True)
    assert values.tolist() == list(range(6))
    assert counts[5] >= 3
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    assert [batch[0]["x"].tolist() for batch in shuffled(six, six, 4, None)()] == [[0, 1, 2, 3], [4, 5]]


def test_a_fold_draws_from_what_it_learns_alone(build, samples):
    from edgeai_keras.training import cross_validate

    inputs, targets = samples("classifier", 12, 1)
    asked = []

    def shown(places):
        asked.append(places)
        return lambda random: np.repeat(np.arange(len(places)), 2)

    made = cross_validate(
        lambda: build("classifier"), inputs, targets, shown=shown, folds=2, validation=None,
        objective=Objective(loss="categorical-crossentropy"), epochs=1, patience=1, learning_rate=0.001,
    )  # fmt: skip
    for places, fold in zip(asked, made, strict=True):
        assert set(places) <= set(fold.train)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True], ids=["inner part", "validation beside"])
def test_labels_that_a_fold_is_judged_by_do_not_choose_its_weights(build, samples, batches, apart):
    from edgeai_keras.training import cross_validate

    inputs, targets = samples("classifier", 36, 1)
    truth = targets["probabilities"]
    strata = truth.argmax(1)

    def folds(labels):
        return cross_validate(
            lambda: build("classifier"), inputs, {"probabilities": labels}, groups=np.repeat(np.arange(12), 3),
            strata=strata, folds=2, validation=batches(*samples("classifier", 12, 2)) if apart else None,
            objective=Objective(loss="categorical-crossentropy"), epochs=6, patience=6, learning_rate=0.02,
            batch_size=36,  # one size, which is traced once
        )  # fmt: skip

    first = folds(truth)
    number = int(apart)  # the one fold in one case, the other in the other
    fold, turned = first[number], truth.copy()
    turned[fold.validation] = np.roll(truth[fold.validation], 1, axis=1)
    again = folds(turned)[number]
    assert again.history.train_loss == fold.history.train_loss
    assert again.history.best_epoch == fold.history.best_epoch
    assert np.array_equal(again.outputs["probabilities"], fold.outputs["probabilities"])
    assert all(sorted([*each.train, *each.validation]) == list(range(36)) for each in first)


def test_what_chooses_a_folds_epoch_shares_no_group_with_what_it_learns():
    from edgeai_keras.folding import inner

    train, groups = np.arange(2, 20), np.repeat(np.arange(10), 2)
    for strata in (None, np.arange(20) % 2, ["few"] + ["many"] * 19, list(range(20))):
        learnt, chooses = inner(train, groups, strata, 5, 0)
        assert sorted([*learnt, *chooses]) == list(train)
        assert len(chooses) >= 2
        assert not set(groups[learnt]) & set(groups[chooses])
    learnt, chooses = inner(train, np.zeros(20), None, 5, 0)
    assert (len(learnt), len(chooses)) == (18, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True},
        {"zoom": 2.0},
        {"zoom": True},
        {"flip_vertical": 1},
        {"noise": -0.1},
        {"shift": "0.1"},
        {"stretch": 1},
        {"erase": 1},
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(options):
    from edgeai_keras.augment import Augmentation

    with pytest.raises(ConfigError, match=next(iter(options))) as refused:
        Augmentation(options, 0)
    assert refused.value.code == "config.augment"


def test_masks_move_with_their_pictures(blobs):
    from edgeai_keras.augment import Augmentation

    _, _, masks = blobs(24, 1)
    wide = np.repeat(masks, 2, axis=2)  # 16 x 32: a turn is one in pixels all the same
    options = {"flip_horizontal": True, "flip_vertical": True, "rotate_degrees": 30.0, "zoom": 0.2, "shift": 0.1}
    (inputs, targets) = Augmentation(options, 3)(({"image": wide}, {"mask": wide, "score": masks[:, 0, :3, 0]}))
    assert set(np.unique(targets["mask"])) == {0.0, 1.0}
    both = np.minimum(inputs["image"], targets["mask"]).sum() / np.maximum(inputs["image"], targets["mask"]).sum()
    assert both > 0.75
    still = np.minimum(inputs["image"], wide).sum() / np.maximum(inputs["image"], wide).sum()
    assert still < 0.5
    np.testing.assert_array_equal(targets["score"], masks[:, 0, :3, 0])


def test_a_mask_on_another_grid_moves_alike(blobs):
    from edgeai_keras.augment import Augmentation

    _, _, masks = blobs(24, 1)
    fine = masks.repeat(4, 1).repeat(8, 2)  # 64 x 128
    coarse = masks.repeat(2, 1).repeat(2, 2)  # 32 x 32: the same picture, other pixels
    options = {"rotate_degrees": 45.0, "shift": 0.1}
    inputs, targets = Augmentation(options, 3)(({"image": fine}, {"mask": coarse}))
    seen = inputs["image"].reshape(24, 32, 2, 32, 4).mean((2, 4))[..., None]
    assert np.minimum(seen, targets["mask"]).sum() / np.maximum(seen, targets["mask"]).sum() > 0.8


def test_a_flip_is_exact_and_the_same_for_all_frames_of_a_clip(blobs):
    from edgeai_keras.augment import Augmentation

    pictures, _, masks = blobs(16, 1)
    clip = np.stack([pictures, pictures * 0.5], axis=1)
    inputs, targets = Augmentation({"flip_horizontal": True}, 1)(({"clip": clip}, {"mask": masks}))
    flipped = 0
    for n in range(16):
        mirrored = not np.allclose(inputs["clip"][n, 0], pictures[n], atol=1e-6)
        flipped += mirrored
        wanted = clip[n, :, :, ::-1] if mirrored else clip[n]
        np.testing.assert_allclose(inputs["clip"][n], wanted, atol=1e-5)
        np.testing.assert_array_equal(targets["mask"][n], masks[n, :, ::-1] if mirrored else masks[n])
    assert 2 <= flipped <= 14


def test_grey_levels_change_by_the_pictures_own_range_and_targets_do_not(blobs):
    from edgeai_keras.augment import Augmentation

    pictures, _, masks = blobs(32, 1)
    for scale, offset in ((1.0, 0.0), (255.0, -128.0)):
        shown = pictures * scale + offset
        inputs, targets = Augmentation({"brightness": 0.2}, 1)(({"image": shown}, {"mask": masks}))
        change = (inputs["image"] - shown).reshape(32, -1)
        part = change.mean(1) / np.ptp(shown.reshape(32, -1), axis=1)
        np.testing.assert_allclose(change.std(1), 0, atol=1e-4 * scale)
        assert 0.1 < np.abs(part).max() <= 0.2 + 1e-5
        np.testing.assert_array_equal(targets["mask"], masks)
    inputs, _ = Augmentation({"gamma": 0.5, "contrast": 0.2, "noise": 0.02}, 1)(({"image": pictures}, {}))
    assert np.isfinite(inputs["image"]).all()
    assert not np.allclose(inputs["image"], pictures, atol=0.01)


def test_a_stretch_widens_what_it_makes_lower_and_masks_follow():
    from edgeai_keras.augment import Augmentation

    disc = np.hypot(*(np.mgrid[0:64, 0:64] - 31.5))[None, ..., None] < 16
    shown = np.repeat(disc.astype(np.float32), 40, axis=0)
    inputs, targets = Augmentation({"stretch": 0.5}, 1)(({"image": shown}, {"mask": shown}))
    for values in (inputs["image"], targets["mask"]):
        high, wide = (values.max(axis=(3 - axis, 3)).sum(axis=1) for axis in (1, 2))
        ratio = wide / high
        np.testing.assert_allclose(wide * high, 32.0**2, rtol=0.15)  # the area stays
        assert 1 / 1.6 < ratio.min() < 0.75
        assert 1.33 < ratio.max() < 1.6
    assert np.abs(inputs["image"] - targets["mask"]).mean() < 0.03


def test_an_erased_rectangle_is_grey_within_its_sides_and_the_mask_stays():
    from edgeai_keras.augment import Augmentation

    noise = np.random.default_rng(1).random((50, 40, 20, 1), np.float32)
    inputs, targets = Augmentation({"erase": 0.5}, 1)(({"image": noise}, {"mask": (noise > 0.5).astype(np.float32)}))
    changed = np.abs(inputs["image"] - noise)[..., 0] > 1e-5
    sides = np.stack([changed.any(axis=2).sum(axis=1), changed.any(axis=1).sum(axis=1)], axis=1)
    assert (sides <= (20, 10)).all()
    assert (sides.max(axis=0) >= (17, 8)).all()
    np.testing.assert_array_equal(changed.sum(axis=(1, 2)), sides.prod(axis=1))  # a rectangle, whole
    assert len({float(one.argmax()) for one in changed}) > 30  # in another place each time
    levels = [
        float(np.ptp(one[where])) for one, where in zip(inputs["image"][..., 0], changed, strict=True) if where.any()
    ]
    assert max(levels) < 1e-5
    np.testing.assert_array_equal(targets["mask"], (noise > 0.5).astype(np.float32))


_LARGE_PLANES = """
import hashlib
import sys
import numpy as np
from edgeai.api import Objective
from edgeai_keras.architectures import build
from edgeai_keras.training import fit, set_seed

set_seed(3)
planes = np.random.default_rng(0).random((4, 256, 256, 1), dtype=np.float32)
masks = (planes > 0.5).astype(np.float32)
batches = [({"image": planes[at : at + 2]}, {"logits": masks[at : at + 2]}) for at in (0, 2)]
filters = int(sys.argv[1])
model = build("unet", size=256, filters=filters, depth=4, most=6 * filters)
objective = Objective(loss="dice-binary-crossentropy", from_logits=True)
fit(model, objective=objective, train=lambda: batches, epochs=1, patience=2, learning_rate=1e-3, seed=3)
print(hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())).hexdigest())
"""


def test_one_operation_runs_at_a_time():
    """Side by side on large planes they gave gradients that differed in their last bits, now and then."""
    import edgeai_keras.frameworks  # noqa: F401 - which says so to TensorFlow before it begins

    assert os.environ["TF_NUM_INTEROP_THREADS"] == "1"
    assert gc.isenabled(), "it was not, while they were imported"


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.parametrize("filters", [4, 16])
def test_a_training_on_large_planes_gives_the_same_weights_in_another_process(filters):
    command = [sys.executable, "-c", _LARGE_PLANES, str(filters)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    digests = [child.communicate(timeout=1100)[0] for child in children]
    assert len(digests[0]) > 60
    assert digests[0] == digests[1]
