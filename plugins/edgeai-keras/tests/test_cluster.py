"""``cluster``: few values a kernel, before and after fine-tuning, and zeros that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import CompressionFailed

pytest.importorskip("tensorflow")


@pytest.fixture
def clustered():
    """``clustered(request, **options)`` -> what was made."""
    from edgeai_keras.cluster import compress

    return lambda request, **options: compress(replace(request, options=options))


def _kernels(keras, path):
    model = keras.saving.load_model(path)
    return {layer.name: layer.get_weights()[0] for layer in model.layers if hasattr(layer, "kernel")}


@pytest.mark.parametrize("init", ["kmeans++", "linear"])
def test_centroids_are_those_of_lloyds_algorithm(init):
    from sklearn.cluster import KMeans

    from edgeai_keras.cluster import centroids, nearest

    random = np.random.default_rng(3)
    weights = np.concatenate([random.normal(c, 0.02, 300) for c in (-1.0, -0.2, 0.4, 1.5)])
    ours = centroids(weights, 4, init, np.random.default_rng(0))
    theirs = np.sort(KMeans(4, n_init=10, random_state=0).fit(weights[:, None]).cluster_centers_.ravel())
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(nearest(weights, ours), np.abs(weights[:, None] - ours).argmin(1))


def test_fewer_values_than_clusters_are_kept_exactly():
    from edgeai_keras.cluster import centroids

    np.testing.assert_array_equal(
        centroids(np.array([2.0, 1.0, 2.0]), 4, "kmeans++", np.random.default_rng(0)), [1.0, 2.0]
    )


@pytest.mark.parametrize(
    ("data", "count"),
    [(False, 2), (True, 8), *(pytest.param(*each, marks=pytest.mark.torture) for each in ((True, 2), (False, 8)))],
)
def test_a_kernel_has_at_most_so_many_values(keras, request_for, clustered, data, count):
    made = clustered(request_for(data=data), clusters=count, epochs=2)
    kernels = {name: len(np.unique(value)) for name, value in _kernels(keras, made.model).items()}
    assert max(kernels.values()) == count
    assert made.facts["distinct_weights"] == count
    assert made.facts["distinct_weights_before"] > 100
    assert made.facts["gzip_bytes"] < 0.5 * made.facts["gzip_bytes_before"]


def test_shared_values_are_fine_tuned_and_better_for_it(keras, request_for, clustered, loss_on, tmp_path):
    once = clustered(request_for(data=False, output=tmp_path / "once.keras"), clusters=3)
    tuned = clustered(request_for(), clusters=3, epochs=6, patience=6, learning_rate=0.003)
    assert loss_on(tuned.model, "classifier") < loss_on(once.model, "classifier")
    before, after = _kernels(keras, once.model), _kernels(keras, tuned.model)
    for name in before:  # the same weights share a value, which is another one now
        pairs = {(was, now) for was, now in zip(before[name].ravel(), after[name].ravel(), strict=True)}
        assert len(pairs) == len(np.unique(before[name]))
    assert not np.array_equal(before["second"], after["second"])


@pytest.mark.parametrize("data", [False, True])
def test_zeros_of_a_pruned_model_stay_unless_they_need_not(keras, request_for, clustered, data, tmp_path):
    from edgeai_keras.magnitude import compress as prune

    pruned = prune(request_for(data=False, output=tmp_path / "p.keras", options={"sparsity": 0.8})).model
    was = _kernels(keras, pruned)
    kept = clustered(request_for(data=data, model=pruned), clusters=4, epochs=2)
    for name, value in _kernels(keras, kept.model).items():
        assert (value[was[name] == 0] == 0).all()
        assert len(np.unique(value)) <= 4
    assert kept.facts["sparsity"] >= kept.facts["sparsity_before"] == pytest.approx(0.8, abs=0.01)
    free = clustered(request_for(data=True, model=pruned), clusters=4, epochs=2, preserve_sparsity=False)
    assert free.facts["sparsity"] < 0.8


def test_layers_that_are_kept_are_not_clustered(keras, request_for, clustered):
    before = _kernels(keras, request_for().model)
    after = _kernels(keras, clustered(request_for(data=False), clusters=4, keep=["probabilities"]).model)
    np.testing.assert_array_equal(after["probabilities"], before["probabilities"])
    assert len(np.unique(after["second"])) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clusters": 1}, "clusters"),
        ({"clusters": 2.5}, "clusters"),
        ({"init": "density"}, "density"),
        ({"preserve_sparsity": "yes"}, "preserve_sparsity"),
        ({"bits": 4}, "bits"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(request_for, clustered, options, words):
    with pytest.raises(CompressionFailed, match=words) as refused:
        clustered(request_for(data=False), **options)
    assert refused.value.code == "compress.options"
