"""Directions that tell people apart, beside scikit-learn's."""

import numpy as np
import pytest

from faceops.embedding.training.fisher_discriminants import fisher_discriminants


@pytest.mark.parametrize("shrinkage", [0.0, 0.25])
def test_they_span_what_scikit_learn_finds(shrinkage: float) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    draw = np.random.default_rng(0)
    labels = np.arange(6).repeat(10)
    scale = np.linspace(0.3, 2, 8)
    components = draw.normal(size=(6, 8))[labels] + scale * draw.normal(size=(60, 8))
    components -= components.mean(0)
    # Principal components scaled to variance 1, as they are where these are used: scikit-learn
    # shrinks the scatter of all photos too, which then is a sphere already.
    components @= np.linalg.inv(np.linalg.cholesky(np.cov(components.T, bias=True))).T
    ours = fisher_discriminants(components, labels, shrinkage)[:5]
    # It divides the scatter by photos, not by degrees of freedom: the same but for a factor.
    library = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage or None)
    theirs = library.fit(components, labels).scalings_[:, :5].T
    for mine, other in zip(ours, theirs, strict=True):
        cosine = mine @ other / np.linalg.norm(mine) / np.linalg.norm(other)
        assert abs(cosine) == pytest.approx(1, abs=0.01)


def test_people_with_one_photo_say_where_people_lie_and_not_how_photos_vary() -> None:
    draw = np.random.default_rng(0)
    people = np.concatenate([draw.normal(size=(40, 1)), np.zeros((40, 1))], axis=1)
    labels = np.concatenate([np.arange(10).repeat(4), np.arange(10, 40)])
    photos = people[labels] + draw.normal(size=(len(labels), 2)) * [0.1, 1.0]
    first = fisher_discriminants(photos - photos.mean(0), labels, 0.25)[0]
    assert abs(first[0]) > 10 * abs(first[1])


def test_photos_of_one_person_that_do_not_differ_leave_finite_directions() -> None:
    components = np.eye(4)[[0, 0, 1, 1, 2, 2]] - 0.25
    assert np.isfinite(fisher_discriminants(components, np.arange(3).repeat(2), 0.25)).all()
