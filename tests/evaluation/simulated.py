"""Simulated people: embeddings in few dimensions, so that strangers do resemble each other."""

from functools import cache

import numpy as np

from faceops.config.sections import Evaluate, Verify
from faceops.evaluation.evaluate import Evaluation, evaluate_embeddings
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from tests.verification import population

VERIFIER = Verifier(np.full(16, -12, np.float32), 9.0, "distance")


def people(count: int, photos: int, noise: float = 0.4, seed: int = 0) -> EmbeddedFaces:
    rows, persons = population.unit_rows(seed, count, photos, np.full(16, noise))
    paths = np.array([f"photos/{p}/{p}_{i % photos + 1:04d}.jpg" for i, p in enumerate(persons)])
    return EmbeddedFaces(rows, persons, paths)


def shuffled(faces: EmbeddedFaces, seed: int = 0) -> EmbeddedFaces:
    return faces.of(np.random.default_rng(seed).permutation(len(faces)))


def coarse(faces: EmbeddedFaces, steps: int = 2) -> EmbeddedFaces:
    """The same people with embeddings of few values, so that many pairs tie exactly."""
    rows = np.round(faces.embeddings * steps).astype(np.float32) / steps
    return EmbeddedFaces(rows, faces.persons, faces.paths)


@cache
def thresholds(margin: float = 0.0, budget: float = 0.05) -> Thresholds:
    """Those of an earlier release, which are the same for all albums."""
    faces = people(120, 4, 0.4, 1)
    rows, persons = faces.embeddings, faces.persons
    found = measure_thresholds(
        rows, persons, VERIFIER, all_pair_scores(rows, persons, VERIFIER),
        Verify(far_budgets=[0.01, 0.001], fpir_budgets=[0.1], gallery_sizes=[20],
               default_budget=budget, runner_up_margin=margin, seed=0),
        "simulated people",
    )  # fmt: skip
    return found.model_copy(update={"normalisation": None})


SETTINGS = Evaluate(pairs=100, pair_draws=3)


@cache
def evaluation() -> Evaluation:
    """Return that of 60 people by `thresholds`, with SETTINGS."""
    return evaluate_embeddings(people(60, 4, 0.4, 2), VERIFIER, thresholds(), SETTINGS)


def album_of(people: int, photos: int = 4, alike: float = 0.0, seed: int = 1) -> EmbeddedFaces:
    """Return an album for `adapting`; strangers resemble each other the more, the more `alike`."""
    rows, persons = population.album(seed, people, photos, alike)
    return EmbeddedFaces(rows, persons, np.char.add("photos/", np.arange(len(rows)).astype(str)))


@cache
def adapting() -> Thresholds:
    """Return thresholds that adapt to an album; compare with `population.VERIFIER`."""
    rows, persons, sets = population.calibration_sets(0.0, 0.4)
    verifier = population.VERIFIER
    settings = Verify(fpir_budgets=[0.1, 0.02], gallery_sizes=[20], default_budget=0.02, seed=0)
    return measure_thresholds(
        rows, persons, verifier, all_pair_scores(rows, persons, verifier), settings,
        "simulated people", sets,
    )  # fmt: skip
