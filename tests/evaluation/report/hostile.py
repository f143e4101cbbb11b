"""Facts of a simulated evaluation in which every name is an attack."""

from functools import cache

import numpy as np

from faceops.base.figures import rounded
from faceops.config.sections import Evaluate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import evaluate_embeddings
from faceops.evaluation.mistakes import MistakenPair, worst_mistakes
from faceops.evaluation.protocols.slices import Attributes, measure_slices
from faceops.evaluation.report.document import About, Facts
from tests.evaluation.simulated import VERIFIER, people, thresholds

ATTACKS = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }} | [a](javascript:alert(1)) `x`",
)
VERIFY = {
    "kind": "linear", "compared_at_far": 0.01, "people": 120, "gain": 0.02,
    "tar": {"linear": 0.9, "distance": 0.88}, "gain_interval": {"low": 0.01, "high": 0.03},
    "calibration": {
        "method": "platt", "folds_of_people": 5,
        "held_out": {
            "isotonic": {"log_loss": 0.2, "expected_error": 0.01},
            "platt": {"log_loss": 0.1, "expected_error": 0.02},
        },
    },
}  # fmt: skip
HISTORY = [
    {"epoch": "0", "phase": "start", "loss": "", "val_tar": "0.5"},
    {"epoch": "1", "phase": "warmup", "loss": "0.25", "val_tar": "0.75"},
]


@cache
def hostile() -> tuple[Facts, list[MistakenPair]]:
    plain = people(60, 4, 0.4, 2)
    renamed = np.array([ATTACKS[i % 4] + name for i, name in enumerate(plain.persons)], dtype=str)
    persons = np.repeat(renamed[::4], 4)
    paths = np.array([f"photos/{name}/{i}.jpg" for i, name in enumerate(persons)])
    faces = EmbeddedFaces(plain.embeddings, persons, paths)
    evaluation = evaluate_embeddings(
        faces, VERIFIER, thresholds(), Evaluate(pairs=100, pair_draws=2)
    )
    groups = Attributes({ATTACKS[0]: np.where(np.arange(240) < 200, ATTACKS[1], ATTACKS[3])}, 0)
    slices = measure_slices(faces, groups, VERIFIER, thresholds(), 0)
    figures = evaluation.figures | {"slices": rounded(slices)}
    about = About(
        name=ATTACKS[0], use=[ATTACKS[1]], seen=[ATTACKS[2]], licences=[ATTACKS[3]],
        lineage=[("contract", "0" * 64), ("git commit", "")],
    )  # fmt: skip
    crops = np.full((len(faces), 112, 112, 3), 90, np.uint8)
    pairs = worst_mistakes(faces, crops, VERIFIER, evaluation.pairs, calibrated=True)
    return Facts(about, figures, thresholds(), VERIFY, HISTORY), pairs
