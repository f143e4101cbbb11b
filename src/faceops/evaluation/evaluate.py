"""All protocols on one table of embeddings: the figures, and the curves as CSV tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import rounded
from faceops.base.files import write_csv
from faceops.config.sections import Evaluate
from faceops.evaluation.protocols import all_pairs, identification, verification
from faceops.evaluation.protocols.album_scores import measure_fpir_at_thresholds, verdict
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import REPEATS
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class Evaluation:
    """The figures of an embedder and a verifier on held-out people."""

    figures: dict[str, Any]  # rounded to six digits, ready for JSON
    pairs: all_pairs.PairScan
    roc: tuple[np.ndarray, np.ndarray]  # FAR, TAR
    cmc: np.ndarray  # (R,): share of probes whose person is among the first 1..R
    identification: tuple[np.ndarray, np.ndarray, np.ndarray]  # FPR, TPR, identification rate

    @property
    def error_rates(self) -> tuple[np.ndarray, np.ndarray]:
        """False accept and false reject rates of the ROC, (P,); never below half a pair."""
        far, tar = self.roc
        accept, reject = 0.5 / self.pairs.roc.impostors, 0.5 / len(self.pairs.roc.genuine)
        return np.clip(far, accept, 1 - accept), np.clip(1 - tar, reject, 1 - reject)

    def score_histogram(self, merged: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (bin centres in log odds, genuine pairs, impostor pairs), (B,).

        `merged` bins of the scan, 0.05 wide, make one.
        """
        edges = all_pairs.HISTOGRAM_EDGES[::merged]
        counts = (self.pairs.same, self.pairs.different)
        same, different = (part.reshape(-1, merged).sum(1) for part in counts)
        return (edges[:-1] + edges[1:]) / 2, same, different


def evaluate_embeddings(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, settings: Evaluate
) -> Evaluation:
    """Run verification, closed-set and open-set protocols on `faces`, of test people only.

    Every threshold that is applied comes from `thresholds` or is the even odds of a calibrated
    probability: none is chosen here, but for the figures that say "at FAR" or "at FPIR", which
    compare models. Without `thresholds` only the latter are given. Photos without a face are
    left out.

    Raises FaceOpsError: too few test people or photos.
    """
    if len(faces) == 0:
        raise FaceOpsError("there are no test photos to evaluate on; raise split.test.")
    faces = replace(faces, missing=())
    seed, fars = settings.seed, settings.far
    drawn = verification.random_pairs(faces, verifier, settings.pairs, seed, settings.pair_draws)
    first = replace(drawn, draws=drawn.draws[:1], scores=drawn.scores[:1])
    scan = all_pairs.scan_pairs(faces, verifier, fars)
    ranks = identification.closed_set(faces, verifier)
    search, open_set = identification.open_set_protocol(faces, verifier, thresholds, settings)
    figures = {
        "people": faces.people,
        "photos": len(faces),
        "verification": {
            "accuracy": float(first.correct(0.0)[0].mean()),
            "accuracy_interval": first.interval(0.0, seed, REPEATS),
            "accuracy_pairs": len(first.draws[0].same),
            "accuracy_threshold": verification.EVEN_ODDS,
            **all_pairs.all_pairs_figures(scan, fars, seed),
            "calibration_error": scan.reliability.expected_error,
        },
        "random_pairs": drawn.figures(fars, thresholds, seed),
        "one_against_ten": _one_against_ten(faces, verifier, seed),
        "closed_set": ranks.figures(seed),
        **open_set,
        "promise": []
        if thresholds is None
        else measure_fpir_at_thresholds(faces, verifier, thresholds, seed),
    }  # fmt: skip
    return Evaluation(
        figures=rounded(figures),
        pairs=scan,
        roc=scan.roc.curve(),
        cmc=ranks.cmc,
        identification=search.curve(),
    )


def _one_against_ten(faces: EmbeddedFaces, verifier: Verifier, seed: int) -> dict[str, Any]:
    try:
        return verification.one_against_ten(faces, verifier).figures(seed)
    except FaceOpsError as error:
        return {"negatives": verification.NEGATIVES, "reason": str(error)}


def measure_populations(
    faces: EmbeddedFaces, names: np.ndarray, verifier: Verifier, thresholds: Thresholds,
    settings: Evaluate,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row for each population in `names` text (N,); none if there is only one.

    Each is an album of its own. A population with too few people for known people and strangers has
    a "reason" instead.
    """
    found = np.unique(names).tolist()
    if len(found) < 2:
        return []
    measured = {}
    for name in found:
        own = faces.of(names == name)
        figures: dict[str, Any] = {"people": own.people, "photos": len(own)}
        try:
            result = identification.open_set(
                own, verifier, thresholds, gallery_photos=settings.gallery_photos,
                unknown_share=settings.unknown_share, seed=settings.seed,
            )  # fmt: skip
            figures["open_set"] = identification.open_set_figures(result, thresholds, settings.seed)
        except FaceOpsError as error:
            figures["reason"] = str(error)
        measured[name] = figures
    return population_rows(measured)


def population_rows(measured: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each name; `measured` has the figures of its evaluation.

    The rates are those of "open_set" or, without it, of the largest gallery in "promise" at the
    budget nearest to 1 %. "worst" marks the highest FPIR.
    """
    rows = [_row(name, figures) for name, figures in measured.items()]
    rates = [row["fpir"] for row in rows if "reason" not in row]
    for row in rows:
        row["worst"] = len(rates) > 1 and row.get("fpir") == max(rates)
    return rows


_USUAL_BUDGET = 0.01


def _row(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    row = {"name": name, "people": figures["people"], "photos": figures["photos"]}
    rates = figures.get("open_set", {})
    if "fpir" not in rates:
        rates = _largest_gallery(figures.get("promise", []))
    if not rates:
        reason = figures.get("reason") or figures.get("promise_refused")
        return row | {"reason": reason or "the protocol measures no promise"}
    budget, fpir, interval = rates["budget"], rates["fpir"], rates["fpir_interval"]
    return row | {
        "dir": rates.get("dir"),
        "dir_interval": rates.get("dir_interval"),
        "fpir": fpir,
        "fpir_interval": interval,
        "budget": budget,
        "verdict": verdict(fpir, interval["low"], budget),
    }


def _largest_gallery(promise: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seen = [row for row in promise if row["seen"] is not None]
    if not seen:
        return {}
    row = min(
        seen, key=lambda row: (abs(np.log(row["budget"] / _USUAL_BUDGET)), -row["gallery_faces"])
    )
    return {"fpir": row["seen"], "fpir_interval": row["seen_interval"], "budget": row["budget"]}


CURVES = tuple(
    f"{name}.csv"
    for name in ("roc", "det", "scores", "cmc", "identification", "promise", "calibration")
)


def deviate(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviates float64 (N,) of `rates` between 0 and 1, both excluded."""
    from scipy.special import ndtri

    return ndtri(rates)


def write_curves(evaluation: Evaluation, folder: Path) -> None:
    """Write the CSV tables of `CURVES` to `folder`."""
    accepts, rejects = evaluation.error_rates
    ranks = np.arange(1, len(evaluation.cmc) + 1)
    bins = evaluation.pairs.reliability
    rates = [
        (row["gallery_faces"], row["budget"], row["seen"], *row["seen_interval"].values())
        for row in evaluation.figures["promise"]
        if row["seen"] is not None
    ]
    deviates = deviate(accepts), deviate(rejects)
    det_header = ("false_accepts", "false_rejects", "false_accept_deviate", "false_reject_deviate")
    tables: dict[str, tuple[Sequence[str], Sequence[Any]]] = {
        "roc": (("far", "tar"), evaluation.roc),
        "det": (det_header, (accepts, rejects, *deviates)),
        "scores": (("bin", "same", "different"), evaluation.score_histogram()),
        "cmc": (("rank", "rate"), (ranks, evaluation.cmc)),
        "identification": (("fpr", "tpr", "identified"), evaluation.identification),
        "promise": (
            ("gallery_faces", "promised", "seen", "low", "high"),
            list(zip(*rates, strict=True)),
        ),
        "calibration": (
            ("predicted", "observed", "pairs"), (bins.predicted, bins.observed, bins.pairs)
        ),
    }  # fmt: skip
    for name, (header, columns) in tables.items():
        rows = zip(*columns, strict=True)
        cells = ([f"{float(value):.7g}" for value in row] for row in rows)
        write_csv(folder / f"{name}.csv", header, cells)
