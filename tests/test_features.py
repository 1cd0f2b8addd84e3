"""Feature spaces: what the classifier learns, that it is trained once, and that its weights are told apart."""

import numpy as np
import pytest

from genjax.data import Dataset, Spec, Split, load
from genjax.metrics import features
from genjax.metrics.features import Plan, classifier, raw, shown_reals

TINY = Plan(False, (16,), 8, 60, 16, 1e-2)


@pytest.fixture
def dataset(monkeypatch) -> Dataset:
    """Three classes told apart by how many of four rows are lit."""
    monkeypatch.setattr(features, "plan_for", lambda spec: TINY)
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300).astype(np.int32)
    x = ((np.arange(4)[:, None, None] <= y[:, None, None, None]) * rng.integers(10, 17, (300, 4, 4, 1))).astype(np.uint8)
    splits = {name: Split(x[rows], y[rows]) for name, rows in {"train": slice(200), "test": slice(200, 300)}.items()}
    return Dataset("rows/three", Spec((4, 4, 1), 17, 3), splits)


def test_raw_features_are_the_values(dataset):
    shown = shown_reals(dataset.spec, dataset.splits["test"].x)
    assert shown.max() <= 1 and raw().apply(shown).shape == (100, 16) and raw().apply(shown).dtype == np.float64
    np.testing.assert_array_equal(
        raw().apply(shown)[7], dataset.splits["test"].x[7].ravel().astype(np.float32) / np.float32(16)
    )


def test_a_classifier_is_trained_once_and_kept(dataset, tmp_path, monkeypatch):
    first = classifier(dataset, tmp_path)
    shown = shown_reals(dataset.spec, dataset.splits["test"].x)
    assert first.about["accuracy"] > 0.95
    assert (first.classify(shown) == dataset.splits["test"].y).mean() == pytest.approx(first.about["accuracy"])
    chances = first.probabilities(shown)
    np.testing.assert_allclose(chances.sum(1), 1.0)
    np.testing.assert_array_equal(chances.argmax(1), first.classify(shown))
    assert first.apply(shown).shape == (100, 8) and first.apply(shown).dtype == np.float64
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["rows_three"]

    monkeypatch.setattr(features, "trained", None)  # a second training would fail
    again = classifier(dataset, tmp_path)
    assert again.about == first.about
    np.testing.assert_array_equal(again.apply(shown), first.apply(shown))


def test_features_do_not_depend_on_what_else_is_given(dataset, tmp_path):
    found = classifier(dataset, tmp_path)
    shown = np.resize(shown_reals(dataset.spec, dataset.splits["test"].x), (300, 4, 4, 1))  # more than one group
    np.testing.assert_allclose(found.apply(shown)[-3:], found.apply(shown[-3:]), atol=1e-6)


def test_other_rows_and_seeds_have_other_weights(dataset, tmp_path):
    splits = dataset.splits | {"train": Split(dataset.splits["train"].x[::-1], dataset.splits["train"].y[::-1])}
    others = [classifier(dataset._replace(splits=splits), tmp_path), classifier(dataset, tmp_path, seed=1)]
    hashes = {found.about["weights"] for found in (classifier(dataset, tmp_path), *others)}
    assert len(hashes) == 3 and len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_told_and_replaced(dataset, tmp_path, capsys):
    first = classifier(dataset, tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:100])
    assert classifier(dataset, tmp_path).about["weights"] == first.about["weights"]
    assert "is damaged" in capsys.readouterr().err
    assert classifier(dataset, tmp_path).about == first.about and not capsys.readouterr().err


def test_a_folder_that_cannot_be_written_costs_no_features(dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert classifier(dataset, tmp_path / "file").about["accuracy"] > 0.95
    assert "could not be written" in capsys.readouterr().err


def test_data_without_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"moons has no labels.*--features raw"):
        classifier(load("moons"), tmp_path)


@pytest.mark.slow
def test_the_classifier_of_digits_names_97_of_100(tmp_path):
    assert classifier(load("digits"), tmp_path).about["accuracy"] > 0.97
