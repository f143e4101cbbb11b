"""Evaluate a model: on the pipeline's test people, or by one protocol on a folder of photos.

`evaluate_test_people` and `evaluate_folder` are the two entries. Both embed faces, run protocols
of `faceops.evaluation` on the embeddings, and return an `EvaluationResult`. A protocol of `faceops
evaluate --data` is one entry of `PROTOCOLS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.figures import rounded
from faceops.base.work import track
from faceops.config.sections import Evaluate, Params
from faceops.evaluation.evaluate import (
    Evaluation,
    evaluate_embeddings,
    measure_populations,
    population_rows,
)
from faceops.evaluation.protocols import identification, lfw
from faceops.evaluation.protocols.album_scores import measure_fpir_at_thresholds
from faceops.evaluation.protocols.robustness import PhotoEmbedder, measure_robustness
from faceops.evaluation.protocols.slices import Attributes, measure_slices, read_attributes
from faceops.evaluation.protocols.verification import one_against_ten, random_pairs
from faceops.release.evaluate import embed_photos
from faceops.release.evaluate.measured_model import MeasuredModel, PeopleSeen, people_seen
from faceops.verification.embedded_faces import CropRows, EmbeddedFaces, read_rows, read_split
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class ProtocolInput:
    faces: EmbeddedFaces  # to evaluate
    model: MeasuredModel  # which embedded the faces
    params: Params  # the sections `evaluate` and `verify` are used
    data: Path  # the folder that the faces' paths are relative to
    threads: int  # photos processed at a time
    # Pairs lists of LFW, for its protocols
    lists: list[lfw.PairsList] = field(default_factory=list)

    @property
    def settings(self) -> Evaluate:
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


PROTOCOLS: Mapping[str, Callable[[ProtocolInput], dict[str, Any] | Evaluation]] = {
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
# The pairs lists that a protocol reads, in the order of its arguments.
LISTS: Mapping[str, tuple[str, ...]] = {
    "lfw-view1": ("pairsDevTrain.txt", "pairsDevTest.txt"),
    "lfw-view2": ("pairs.txt",),
}


def read_lists(protocol: str, data: Path, folder: Path | None) -> list[lfw.PairsList]:
    """Read the pairs lists of `protocol` from `folder`, or beside the photos of `data`.

    Raises UsageError: one is missing.
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


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation measured, and what its report shows."""

    model: MeasuredModel  # what was evaluated
    figures: dict[str, Any]  # by protocol, rounded and ready for JSON
    faces: EmbeddedFaces  # that were evaluated
    crops: np.ndarray | CropRows | None  # of the faces, uint8 (N, 112, 112, 3)
    curves: Evaluation | None  # behind the figures; None unless all protocols ran


_BLOCK = 64  # crops between two reports of progress


def embed_test_people(model: MeasuredModel, crops_file: Path, faces_file: Path) -> EmbeddedFaces:
    """Return the faces of the test people, with their crops, embedded by `model`.

    Raises FaceOpsError: the files are absent or do not match, or there are no test people.
    """
    people = read_split(faces_file, "test")
    crops = read_rows(crops_file, people.rows)
    blocks = range(0, len(crops), _BLOCK)
    parts = [model.embed(crops[start : start + _BLOCK])[0] for start in track(blocks, "embedding")]
    return EmbeddedFaces(np.concatenate(parts), people.persons, people.paths, crops)


def evaluate_test_people(
    model: MeasuredModel, faces: EmbeddedFaces, params: Params, data: Path, threads: int = 1,
    sources: np.ndarray | None = None,
) -> EvaluationResult:  # fmt: skip
    """Run all protocols on `faces`, and robustness and slices where `params` ask for them.

    `data` is the folder that the faces' paths are relative to; only robustness opens photos.
    `sources` text (N,) names where each face's photo is from: of several, the promise is measured
    for each.

    Raises:
        FaceOpsError: too few people or photos, a photo is missing, or the CSV of groups is wrong.
    """
    settings = params.evaluate
    attributes = read_attributes(Path(settings.slices)).of(faces) if settings.slices else None
    task = ProtocolInput(faces, model, params, data, threads)
    curves = run_all(task)
    figures = dict(curves.figures)
    if sources is not None and model.thresholds is not None:
        rows = measure_populations(faces, sources, model.verifier, model.thresholds, settings)
        figures |= {"populations": rows} if rows else {}
    if settings.robustness_photos:
        _check_robustness(model, data)
        figures |= run_robustness(task)
    return EvaluationResult(model, _finished(figures, task, attributes), faces, faces.crops, curves)


def _check_robustness(model: MeasuredModel, data: Path) -> None:
    if model.crops.mode != "aligned":
        raise FaceOpsError(
            f"{model.name} was trained on crops of mode {model.crops.mode!r} and finds no faces in "
            "altered photos; set evaluate.robustness_photos to 0, or crop.mode to aligned."
        )
    if not data.is_dir():
        raise FaceOpsError(
            f"{data} does not exist, and robustness alters its photos; run `dvc pull`, or set "
            "evaluate.robustness_photos to 0."
        )


@dataclass(frozen=True)
class FolderRequest:
    """What to evaluate on: a folder of labelled photos."""

    data: Path  # the folder; see `labelled_photos`
    protocol: str  # a key of `PROTOCOLS`
    people: list[str] | None = None  # evaluate only these, by any spelling
    lists: Path | None = None  # folder of LFW's pairs lists; None: beside the photos
    slices: Path | None = None  # a CSV of attributes of people or photos
    # The split stage's faces.parquet, which says who trained the model
    split: Path = Path("build/split/faces.parquet")
    work: Path = Path("build/evaluations")  # folder of crops and embeddings, which are reused


@dataclass(frozen=True)
class FolderEvaluation:
    """The result, what became of every photo, and which people the model had seen."""

    result: EvaluationResult
    photos: embed_photos.EmbeddedPhotos
    seen: PeopleSeen


def evaluate_folder(
    model: MeasuredModel, request: FolderRequest, params: Params, threads: int
) -> FolderEvaluation:
    """Find, embed and evaluate the faces of a folder of labelled photos.

    The protocols of LFW open only the photos that their lists name, copies included.

    Raises:
        UsageError: the folder, a list or the CSV of groups is wrong.
        FaceOpsError: too few people or photos for the protocol.
    """
    stated = read_attributes(request.slices) if request.slices else None
    lists = read_lists(request.protocol, request.data, request.lists)
    listed = embed_photos.labelled_photos(request.data, request.people)
    if lists:
        named = {name for pairs in lists for name in pairs.photos.tolist()}
        listed = [photo for photo in listed if photo.file.stem in named]
    set_aside = embed_photos.quarantined_photos(request.data)
    copies = request.protocol in LISTS
    photos = embed_photos.embed_photos(
        model, listed, set_aside, request.work, threads=threads, duplicates=copies
    )
    faces = photos.faces
    seen = people_seen(model, sorted(set(faces.persons.tolist())), request.split)
    task = ProtocolInput(faces, model, params, request.data, threads, lists)
    output = PROTOCOLS[request.protocol](task)
    curves = output if isinstance(output, Evaluation) else None
    figures: dict[str, Any] = {"people": faces.people, "photos": len(faces)}
    figures |= output.figures if isinstance(output, Evaluation) else output
    attributes = None if stated is None else stated.of(faces, photos.photo_ids)
    figures = _finished(figures, task, attributes) | {
        "bundle": model.name,
        "protocol": request.protocol,
        "data": {
            "folder": str(request.data),
            "photos": len(listed),
            "people": len({photo.person for photo in listed if photo.person}),
            "faces": len(faces),
            "without_face": photos.reasons,
            "seen": seen.figures(),
        },
    }
    result = EvaluationResult(model, figures, faces, photos.crops, curves)
    return FolderEvaluation(result, photos, seen)


def evaluate_folders(
    model: MeasuredModel, requests: Mapping[str, FolderRequest], params: Params, threads: int
) -> list[FolderEvaluation]:
    """Return `evaluate_folder` of each of `requests`, by name; of several also their comparison.

    Raises: as `evaluate_folder`.
    """
    done = [evaluate_folder(model, request, params, threads) for request in requests.values()]
    if len(done) > 1:
        measured = {name: one.result.figures for name, one in zip(requests, done, strict=True)}
        rows = rounded({"populations": population_rows(measured)})
        for one in done:
            one.result.figures.update(rows)
    return done


# Figures that need calibrated probabilities: a probability of 0.5 must mean even odds.
_CALIBRATED = {"verification": ("accuracy", "calibration_error"), "random_pairs": ("accuracy",)}


def _finished(
    figures: dict[str, Any], task: ProtocolInput, attributes: Attributes | None
) -> dict[str, Any]:
    """Return `figures`, rounded, with those of slices, without those that need calibration."""
    model = task.model
    if attributes is not None:
        figures["slices"] = measure_slices(
            task.faces, attributes, model.verifier, model.thresholds, task.params.evaluate.seed
        )
    if model.thresholds is None:
        for protocol in _CALIBRATED.keys() & figures.keys():
            figures[protocol] = {
                key: value
                for key, value in figures[protocol].items()
                if not key.startswith(_CALIBRATED[protocol])
            }
        figures["uncalibrated"] = (
            f"{model.name} was made elsewhere and nothing was calibrated: figures that depend on "
            "a calibrated probability or threshold are absent"
        )
    return rounded(figures)
