"""The protocols of `faceops evaluate --data`, by name. A protocol is one entry of `PROTOCOLS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from faceops.base.errors import UsageError
from faceops.config.sections import Evaluate, Params
from faceops.evaluation.evaluate import Evaluation, evaluate_embeddings
from faceops.evaluation.protocols import identification, lfw
from faceops.evaluation.protocols.album_scores import measure_fpir_at_thresholds
from faceops.evaluation.protocols.robustness import PhotoEmbedder, measure_robustness
from faceops.evaluation.protocols.verification import one_against_ten, random_pairs
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class ProtocolInput:
    """What a protocol works on."""

    faces: EmbeddedFaces  # to evaluate
    model: MeasuredModel  # which embedded the faces
    params: Params  # the sections `evaluate` and `verify` are used
    data: Path  # the folder that the faces' paths are relative to
    threads: int  # photos processed at a time
    # Pairs lists of LFW, for its protocols
    lists: list[lfw.PairsList] = field(default_factory=list)

    @property
    def settings(self) -> Evaluate:
        """The section `evaluate`."""
        return self.params.evaluate

    @property
    def pair(self) -> tuple[EmbeddedFaces, Verifier]:
        """The faces and the verifier, which most protocols take."""
        return self.faces, self.model.verifier


def run_all(task: ProtocolInput) -> Evaluation:
    """Run verification, closed-set and open-set protocols, with curves."""
    return evaluate_embeddings(*task.pair, task.model.thresholds, task.settings)


def _pairs(task: ProtocolInput) -> dict[str, Any]:
    settings = task.settings
    drawn = random_pairs(*task.pair, settings.pairs, settings.seed, settings.pair_draws)
    return {"random_pairs": drawn.figures(settings.far, task.model.thresholds, settings.seed)}


def _open_set(task: ProtocolInput) -> dict[str, Any]:
    thresholds = task.model.thresholds
    return identification.open_set_protocol(*task.pair, thresholds, task.settings)[1]


def _lfw_view1(task: ProtocolInput) -> dict[str, Any]:
    (train, test), seed = task.lists, task.settings.seed
    return {"lfw_view1": lfw.lfw_view1(*task.pair, train, test, seed).figures(seed)}


def _lfw_view2(task: ProtocolInput) -> dict[str, Any]:
    (pairs,) = task.lists
    return {"lfw_view2": lfw.lfw_view2_figures(*task.pair, pairs, task.settings.seed)}


def _fpir_by_budget(task: ProtocolInput) -> dict[str, Any]:
    model, verify = task.model, task.params.verify
    if model.thresholds is None:
        refused = f"{model.name} is not a release and has no calibrated thresholds"
        return {"promise": [], "promise_refused": refused}
    rows = measure_fpir_at_thresholds(
        *task.pair, model.thresholds, task.settings.seed,
        budgets=verify.fpir_budgets, gallery_sizes=verify.gallery_sizes,
    )  # fmt: skip
    return {"promise": rows}


def run_robustness(task: ProtocolInput) -> dict[str, Any]:
    """Measure the true accept rate that remains when photos are altered."""
    settings, model = task.settings, task.model
    photos = PhotoEmbedder(
        task.data, model.finder, lambda crops: model.embed(crops).embeddings, model.crops,
        task.threads,
    )  # fmt: skip
    table = measure_robustness(
        *task.pair, model.thresholds, photos,
        count=settings.robustness_photos, seed=settings.seed,
    )  # fmt: skip
    return {"robustness": table}


PROTOCOLS: Mapping[str, Callable[[ProtocolInput], dict[str, Any] | Evaluation]] = MappingProxyType(
    {
        "all": run_all,
        "pairs": _pairs,
        "one-against-ten": lambda task: {
            "one_against_ten": one_against_ten(*task.pair).figures(task.settings.seed)
        },
        "closed-set": lambda task: {
            "closed_set": identification.closed_set(*task.pair).figures(task.settings.seed)
        },
        "open-set": _open_set,
        "lfw-view1": _lfw_view1,
        "lfw-view2": _lfw_view2,
        "promise": _fpir_by_budget,
        "robustness": run_robustness,
    }
)
# The pairs lists that a protocol reads, in the order of its arguments.
LISTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"lfw-view1": ("pairsDevTrain.txt", "pairsDevTest.txt"), "lfw-view2": ("pairs.txt",)}
)


def read_lists(protocol: str, data: Path, folder: Path | None) -> list[lfw.PairsList]:
    """Read the pairs lists of `protocol` from `folder`, or beside the photos of `data`.

    Raises:
        UsageError: one is missing.
    """
    beside = [data / "protocols" / "lfw", data / "protocols", data, data.parent]
    found = []
    for name in LISTS.get(protocol, ()):
        files = [place / name for place in ([folder] if folder else beside)]
        existing = next((file for file in files if file.is_file()), None)
        if existing is None:
            raise UsageError(
                f"{protocol} needs {name}, which is not in {files[0].parent}; name the folder of "
                "LFW's lists with --lists."
            )
        found.append(lfw.read_pairs_list(existing))
    return found
