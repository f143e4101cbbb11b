"""Any protocol by any model on any folder of labelled photos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceops.config.sections import Params
from faceops.evaluation.attributes import read_attributes
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.figures import rounded
from faceops.evaluation.slices import measure_slices
from faceops.release.embed_data import EmbeddedData, embed_data
from faceops.release.labelled_photos import LabelledPhoto, labelled_photos, set_aside
from faceops.release.measured_model import MeasuredModel
from faceops.release.people_seen import PeopleSeen, people_seen
from faceops.release.protocols import LISTS, Task, read_lists, run_protocol


@dataclass(frozen=True)
class DataRequest:
    """What to evaluate on: a folder, perhaps only some of its people, and a CSV of groups."""

    data: Path
    protocol: str
    people: list[str] | None = None
    lists: Path | None = None
    slices: Path | None = None
    split: Path = Path("build/split/faces.parquet")
    work: Path = Path("build/evaluations")


@dataclass(frozen=True)
class DataEvaluation:
    """The figures, ready for JSON, and the photos behind them; curves where all protocols ran."""

    figures: dict[str, Any]
    embedded: EmbeddedData
    seen: PeopleSeen
    evaluation: Evaluation | None


def evaluate_data(
    model: MeasuredModel, request: DataRequest, params: Params, threads: int
) -> DataEvaluation:
    """Find, embed and evaluate; what an earlier run left in the work folder is used.

    Lists of pairs name their photos: only those are opened, also where one is there twice.

    Raises:
        UsageError: the folder, a list or the CSV of groups is wrong.
        FaceOpsError: too few people or photos for the protocol.
    """
    stated = None if request.slices is None else read_attributes(request.slices)
    lists = read_lists(request.protocol, request.data, request.lists)
    photos = labelled_photos(request.data, request.people)
    if lists:
        named = {name for pairs in lists for name in pairs.photos.tolist()}
        photos = [photo for photo in photos if photo.file.stem in named]
    embedded = embed_data(
        model,
        photos,
        set_aside(request.data),
        request.work,
        threads=threads,
        duplicates=request.protocol in LISTS,
    )
    faces = embedded.faces
    seen = people_seen(model, sorted(set(faces.persons.tolist())), request.split)
    figures: dict[str, Any] = {
        "bundle": model.name,
        "protocol": request.protocol,
        "data": _told(request, photos, embedded, seen),
    }
    attributes = None if stated is None else stated.of(faces, embedded.photo_ids)
    task = Task(model, faces, params, request.data, lists, threads)
    measured, evaluation = run_protocol(request.protocol, task)
    figures |= measured
    if attributes is not None:
        seed = params.evaluate.seed
        groups = measure_slices(faces, attributes, model.verifier, model.thresholds, seed)
        figures["slices"] = rounded(groups)
    return DataEvaluation(figures, embedded, seen, evaluation)


def _told(
    request: DataRequest, photos: list[LabelledPhoto], embedded: EmbeddedData, seen: PeopleSeen
) -> dict[str, Any]:
    return {
        "folder": str(request.data),
        "photos": len(photos),
        "people": len({photo.person for photo in photos if photo.person}),
        "faces": len(embedded.faces),
        "without_face": embedded.reasons,
        "seen": seen.figures(),
    }
