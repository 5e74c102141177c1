"""``distil``: a student that learns from its teacher, for classes, masks and values, from logits and probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import CompressionFailed, Objective

pytest.importorskip("tensorflow")

STUDENT = {"size": 16, "channels": 1, "filters": [4], "units": 8, "labels": 3, "head": "softmax"}


@pytest.fixture
def distilled():
    """``distilled(request, **options)`` -> what was made."""
    from edgeai_keras.distil import compress

    return lambda request, **options: compress(replace(request, options={"epochs": 3, **options}))


def test_the_loss_is_hintons_for_logits_and_for_probabilities():
    from edgeai_keras.distil import Soft

    teacher, student = np.array([[2.0, 0.5, -1.0]], "float32"), np.array([[0.3, 0.1, 0.2]], "float32")

    def softmax(values, temperature):
        powers = np.exp(values / temperature)
        return powers / powers.sum()

    p, q = softmax(teacher, 4.0), softmax(student, 4.0)
    wanted = 16.0 * (p * np.log(p / q)).sum()
    logits = Soft(Objective(loss="categorical-crossentropy", from_logits=True), 4.0)
    assert float(logits.compute_loss(teacher, student)) == pytest.approx(wanted, rel=1e-4)
    plain = Soft(Objective(loss="categorical-crossentropy"), 4.0)
    got = float(plain.compute_loss(softmax(teacher, 1.0), softmax(student, 1.0)))
    assert got == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("loss", ["binary-crossentropy", "dice-binary-crossentropy"])
def test_masks_are_held_to_the_teachers_soft_masks_pixel_by_pixel(loss):
    from edgeai_keras.distil import Soft

    random = np.random.default_rng(1)
    teacher, student = (random.normal(size=(2, 4, 4, 1)).astype("float32") for _ in range(2))

    def sigmoid(values):
        return 1 / (1 + np.exp(-values))

    p, q = sigmoid(teacher / 2), sigmoid(student / 2)
    wanted = 4.0 * -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
    assert float(Soft(Objective(loss=loss, from_logits=True), 2.0).compute_loss(teacher, student)) == pytest.approx(
        wanted, rel=1e-4
    )
    got = float(Soft(Objective(loss=loss), 2.0).compute_loss(sigmoid(teacher), sigmoid(student)))
    assert got == pytest.approx(wanted, rel=1e-3)


def test_values_are_held_to_the_teachers_by_their_square():
    from edgeai_keras.distil import Soft

    got = Soft(Objective(loss="mean-squared-error"), 3.0).compute_loss(np.ones((4, 1)), np.full((4, 1), 3.0))
    assert float(got) == pytest.approx(4.0)


def test_values_of_a_loss_of_somebody_elses_are_held_to_the_teachers_by_that_loss():
    from edgeai_keras.distil import Soft

    teacher, student = np.ones((4, 1), "float32"), np.full((4, 1), 3.0, "float32")
    by_formula = Objective(loss="fourth", formula=lambda ops, truth, answer: ops.mean((truth - answer) ** 4, axis=-1))
    assert float(Soft(by_formula, 3.0).compute_loss(teacher, student)) == pytest.approx(16.0)
    absolute = Objective(loss="mean-absolute-error")
    assert float(Soft(absolute, 3.0).compute_loss(teacher, student)) == pytest.approx(2.0)


def test_a_student_learns_from_a_teacher_what_wrong_labels_do_not_say(
    keras, request_for, distilled, loss_on, samples, batches
):
    """With alpha 1 the labels count for nothing: those given here are noise."""
    inputs, targets = samples("classifier", 96, 1)
    noise = np.roll(targets["probabilities"], 1, axis=1)
    data = batches(inputs, {"probabilities": noise})
    usual = {"student": "cnn", "student_options": STUDENT, "epochs": 25, "patience": 25, "learning_rate": 0.01}
    request = request_for(train=data, validation=data)
    taught = distilled(request, alpha=1.0, temperature=2.0, **usual)
    assert loss_on(taught.model, "classifier") < 0.5
    assert taught.facts["parameters"] < taught.facts["parameters_before"]
    misled = distilled(request_for(train=data, validation=data, output=request.output.with_name("n.keras")), alpha=0.0,
                       **usual)  # fmt: skip
    assert loss_on(misled.model, "classifier") > 1.5


@pytest.mark.parametrize("name", ["classifier", "segmenter", pytest.param("regressor", marks=pytest.mark.torture)])
def test_a_pruned_model_recovers_under_its_teacher_and_keeps_its_zeros(
    keras, request_for, distilled, loss_on, name, tmp_path
):
    from edgeai_keras.magnitude import compress as prune

    pruned = prune(request_for(name, data=False, output=tmp_path / "p.keras", options={"sparsity": 0.7})).model
    made = distilled(request_for(name, model=pruned), epochs=8, patience=8, learning_rate=0.003)
    assert loss_on(made.model, name) < loss_on(pruned, name)
    assert made.facts["sparsity"] == pytest.approx(made.facts["sparsity_before"], abs=1e-6)
    free = distilled(request_for(name, model=pruned), epochs=1, preserve_sparsity=False)
    assert free.facts["sparsity"] < 0.5


def test_the_teacher_is_left_as_it_was_and_the_student_is_no_part_of_it(keras, request_for, distilled):
    request = request_for()
    before = request.teacher.read_bytes()
    made = distilled(request, student="cnn", student_options=STUDENT)
    assert request.teacher.read_bytes() == before
    model = keras.saving.load_model(made.model)
    assert not any("distiller" in weight.path for weight in model.weights)
    assert all(layer.trainable for layer in model.layers)


def test_a_teacher_of_no_weight_is_not_asked(keras, request_for, distilled, tmp_path):
    usual = {"student": "cnn", "student_options": STUDENT, "epochs": 2}
    own = distilled(request_for(output=tmp_path / "own.keras"), alpha=0.0, **usual)
    other = keras.saving.load_model(request_for().teacher)
    other.set_weights([np.zeros_like(weights) for weights in other.get_weights()])
    other.save(tmp_path / "zeros.keras")
    request = replace(request_for(output=tmp_path / "other.keras"), teacher=tmp_path / "zeros.keras")
    made = distilled(request, alpha=0.0, **usual)
    assert made.model.read_bytes() == own.model.read_bytes()
    assert "by the labels alone" in made.notes[0]
    asked = distilled(request, alpha=0.5, **usual)
    assert asked.model.read_bytes() != own.model.read_bytes()


def test_the_first_weights_of_a_new_student_are_the_seeds_alone(keras, request_for, distilled, tmp_path):
    """However much another parent draws while it is loaded."""
    usual = {"student": "cnn", "student_options": STUDENT, "epochs": 1, "alpha": 0.0}
    own = distilled(request_for(output=tmp_path / "own.keras"), **usual)
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Dense(3, name="answer")(keras.layers.Flatten(name="flat")(image))
    parent = tmp_path / "other-parent.keras"
    keras.Model(image, keras.layers.Softmax(name="probabilities")(x)).save(parent)
    made = distilled(request_for(model=parent, teacher=parent, output=tmp_path / "other.keras"), **usual)
    assert made.model.read_bytes() == own.model.read_bytes()


@pytest.mark.torture
def test_the_same_request_gives_the_same_bytes(request_for, distilled, tmp_path):
    made = [
        distilled(request_for(output=tmp_path / f"{n}.keras"), student="cnn", student_options=STUDENT, epochs=2).model
        for n in range(2)
    ]
    assert made[0].read_bytes() == made[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "changes", "code", "words"),
    [
        ({"temperature": 0}, {}, "compress.options", "temperature"),
        ({"alpha": 1.5}, {}, "compress.options", "alpha"),
        ({"student": 3}, {}, "compress.options", "student"),
        ({"student_options": {"size": 16}}, {}, "compress.options", "student_options"),
        ({"student": "cnn", "student_options": [16]}, {}, "compress.options", "student_options"),
        ({"student": "transformer"}, {}, "compress.student-unknown", "transformer"),
        ({"student": "cnn", "student_options": {"depth": 3}}, {}, "compress.student-unknown", "depth"),
        ({"student": "cnn", "student_options": {**STUDENT, "size": 20}}, {}, "compress.student-differs", "20x20x1"),
        ({"student": "cnn", "student_options": {**STUDENT, "labels": 2}}, {}, "compress.student-differs", "outputs"),
        ({"student": "cnn", "student_options": {**STUDENT, "head": "logits"}}, {}, "compress.student-differs",
         "student ends in logits"),
        ({}, {"objective": Objective(loss="categorical-crossentropy", from_logits=True)}, "compress.student-differs",
         "ends in probabilities"),
        ({}, {"train": None}, "compress.needs-data", "data"),
        ({"epochs": 0}, {}, "compress.needs-data", "data"),
        ({}, {"teacher": None}, "compress.no-teacher", "teacher"),
    ],
)  # fmt: skip
def test_what_cannot_be_distilled_is_refused(request_for, distilled, options, changes, code, words):
    request = request_for(**changes)
    with pytest.raises(CompressionFailed, match=words) as refused:
        distilled(request, **options)
    assert refused.value.code == code
    assert refused.value.remedy
    assert not request.output.exists()
