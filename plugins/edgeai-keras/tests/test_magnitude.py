"""``prune-magnitude``: as many zeros as asked for, where asked for, for good."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import CompressionFailed

pytest.importorskip("tensorflow")


@pytest.fixture
def pruned():
    """``pruned(request, **options)`` -> what was made."""
    from edgeai_keras.magnitude import compress

    return lambda request, **options: compress(replace(request, options=options))


def _kernels(keras, path):
    model = keras.saving.load_model(path)
    return {layer.name: layer.get_weights()[0] for layer in model.layers if hasattr(layer, "kernel")}


@pytest.mark.parametrize(
    ("done", "wanted"),
    [(0.0, 0.1), (0.2, 0.1), (0.35, 0.9 - 0.8 * 0.75**3), (0.5, 0.8), (0.8, 0.9), (1.0, 0.9)],
)
def test_the_schedule_is_the_papers(done, wanted):
    from edgeai_keras.magnitude import sparsity_at

    assert sparsity_at(done, initial=0.1, final=0.9, begin=0.2, end=0.8) == pytest.approx(wanted)


def test_global_pruning_takes_the_smallest_of_all_and_layer_pruning_the_same_of_each(keras, request_for, pruned):
    shares = {}
    for scope in ("global", "layer"):
        request = request_for(data=False)
        made = pruned(request, sparsity=0.6, scope=scope)
        kernels = _kernels(keras, made.model)
        shares[scope] = {name: (value == 0).mean() for name, value in kernels.items()}
        zeros, total = sum((v == 0).sum() for v in kernels.values()), sum(v.size for v in kernels.values())
        assert abs(zeros - 0.6 * total) <= len(kernels)
        assert made.facts["sparsity"] == pytest.approx(zeros / total)
        assert made.facts["sparsity_before"] == 0
    assert max(abs(share - 0.6) for share in shares["layer"].values()) < 0.02
    assert np.ptp(list(shares["global"].values())) > 0.05
    before, after = _kernels(keras, request.model), kernels
    for name, kernel in before.items():
        kept = after[name] != 0
        np.testing.assert_array_equal(after[name][kept], kernel[kept])
        assert np.abs(kernel[kept]).min() >= np.abs(kernel[~kept]).max()


def test_no_layer_goes_dead_and_most_is_held(keras, trained, request_for, pruned, tmp_path):
    model = keras.saving.load_model(trained("classifier"))
    model.get_layer("second").kernel.assign(model.get_layer("second").kernel * 1e-4)
    model.save(tmp_path / "faint.keras")
    made = pruned(request_for(data=False, model=tmp_path / "faint.keras"), sparsity=0.5, most=0.7)
    shares = {name: (value == 0).mean() for name, value in _kernels(keras, made.model).items()}
    assert shares["second"] == pytest.approx(0.7, abs=0.005)
    assert made.facts["sparsity"] == pytest.approx(0.5, abs=0.005)


def test_fine_tuning_holds_the_zeros_and_wins_the_loss_back(keras, request_for, pruned, loss_on):
    once = pruned(request_for(data=False, output=request_for().output.with_name("once.keras")), sparsity=0.9)
    tuned = pruned(request_for(), sparsity=0.9, epochs=8, patience=8, learning_rate=0.003)
    assert tuned.facts["sparsity"] == pytest.approx(0.9, abs=0.005)
    assert loss_on(tuned.model, "classifier") < 0.5 * loss_on(once.model, "classifier")
    assert tuned.facts["epochs"] == 8
    assert tuned.facts["gzip_bytes"] < 0.6 * tuned.facts["gzip_bytes_before"]
    assert any("fine-tuned" in note for note in tuned.notes)
    assert any("not fine-tuned" in note for note in once.notes)


def test_the_schedule_rises_and_weights_before_its_end_are_not_kept(request_for, trained, pruned, monkeypatch):
    from edgeai_keras import magnitude

    seen = []
    real = magnitude.Pruning.apply

    def watched(self, done):
        real(self, done)
        seen.append(np.mean([np.mean(kernel.value == 0) for kernel in self._chosen]))

    monkeypatch.setattr(magnitude.Pruning, "apply", watched)
    lines = []
    made = pruned(request_for(progress=lines.append), sparsity=0.8, scope="layer", epochs=4, patience=1, end=0.5,
                  learning_rate=0.5)  # fmt: skip
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert 0.2 < seen[len(seen) // 4] < 0.79
    assert made.facts["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert len(lines) >= 2


def test_layers_and_keep_say_which(keras, request_for, pruned):
    before = _kernels(keras, request_for().model)
    only = _kernels(keras, pruned(request_for(data=False), sparsity=0.5, layers=["second"]).model)
    rest = _kernels(keras, pruned(request_for(), sparsity=0.5, keep=["probabilities"], epochs=1, end=0.9).model)
    assert {name for name, value in only.items() if (value == 0).any()} == {"second"}
    np.testing.assert_array_equal(only["first"], before["first"])
    assert {name for name, value in rest.items() if (value == 0).any()} == {"first", "second"}


def test_zeros_of_an_earlier_step_stay_in_layers_that_are_not_pruned_now(keras, request_for, pruned):
    first = pruned(request_for(data=False), sparsity=0.5, layers=["second"])
    kept = first.model.rename(first.model.with_name("first.keras"))
    then = pruned(request_for(model=kept), sparsity=0.3, layers=["probabilities"], epochs=2)
    was, now = _kernels(keras, kept), _kernels(keras, then.model)
    assert (now["second"][was["second"] == 0] == 0).all()
    assert not np.array_equal(now["second"], was["second"])


def test_nested_models_and_recurrent_layers_are_pruned_and_named(keras, request_for, pruned, tmp_path):
    inner = keras.Sequential([keras.Input((8, 4)), keras.layers.GRU(6, name="memory")], name="stem")
    rows = keras.Input((8, 4), name="rows")
    model = keras.Model(rows, keras.layers.Dense(2, name="score")(inner(rows)))
    model.save(tmp_path / "nested.keras")
    request = request_for(data=False, model=tmp_path / "nested.keras")
    made = keras.saving.load_model(pruned(request, sparsity=0.5, scope="layer", layers=["stem/memory"]).model)
    kernel, recurrent, _ = made.get_layer("stem").get_layer("memory").get_weights()
    assert [(value == 0).mean() for value in (kernel, recurrent)] == [0.5, 0.5]
    assert (made.get_layer("score").get_weights()[0] != 0).all()


@pytest.mark.torture
def test_the_same_request_gives_the_same_bytes(request_for, pruned, tmp_path):
    digests = [
        hashlib.sha256(
            pruned(request_for(output=tmp_path / f"{n}.keras", seed=seed), sparsity=0.7, epochs=2).model.read_bytes()
        ).hexdigest()
        for n, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1]  # another seed may well come to the same: there is no randomness here but order


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"sparsity": 1.0}, "compress.options", "sparsity"),
        ({"sparsity": "half"}, "compress.options", "sparsity"),
        ({"sparsity": True}, "compress.options", "sparsity"),
        ({"sparsity": 0.3, "initial": 0.5}, "compress.options", "initial"),
        ({"begin": 0.6, "end": 0.6}, "compress.options", "begin"),
        ({"scope": "galaxy"}, "compress.options", "galaxy"),
        ({"keep": "second"}, "compress.options", "keep"),
        ({"epochs": -1}, "compress.options", "epochs"),
        ({"learning_rate": 0}, "compress.options", "learning_rate"),
        ({"momentum": 1}, "compress.options", "momentum"),
        ({"layers": ["third"]}, "compress.layer-unknown", "third"),
        ({"keep": ["norm"]}, "compress.layer-unknown", "norm"),
        ({"keep": ["first", "second", "probabilities"]}, "compress.layer-unknown", "no kernel"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(request_for, pruned, options, code, words):
    request = request_for(data=False)
    with pytest.raises(CompressionFailed, match=words) as refused:
        pruned(request, **options)
    assert refused.value.code == code
    assert refused.value.remedy
    assert not request.output.exists()
