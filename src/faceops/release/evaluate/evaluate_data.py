"""Any protocol by any model on any folder of labelled photos."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from faceops.base.errors import UsageError
from faceops.base.figures import rounded
from faceops.config.sections import Params
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.protocols.closed_set import closed_set
from faceops.evaluation.protocols.lfw import PairsList, lfw_view1, lfw_view2, read_pairs_list
from faceops.evaluation.protocols.open_set import (
    gallery_query_figures,
    open_set,
    open_set_figures,
    open_sets,
)
from faceops.evaluation.protocols.promise import hold_promise
from faceops.evaluation.protocols.robustness import measure_robustness
from faceops.evaluation.protocols.slices import measure_slices, read_attributes
from faceops.evaluation.protocols.verification import one_against_ten, random_pairs
from faceops.release.evaluate.embed_photos import (
    EmbeddedData,
    LabelledPhoto,
    embed_data,
    labelled_photos,
    set_aside,
)
from faceops.release.evaluate.measured_model import MeasuredModel, without_probabilities
from faceops.release.evaluate.people_seen import PeopleSeen, people_seen

# The lists that a protocol of LFW's reads, in the order in which it takes them.
LISTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"lfw-view1": ("pairsDevTrain.txt", "pairsDevTest.txt"), "lfw-view2": ("pairs.txt",)}
)


@dataclass(frozen=True)
class Task:
    """What a protocol works on; `data` is the folder that the faces' paths start from."""

    model: MeasuredModel
    faces: EmbeddedFaces
    params: Params
    data: Path
    lists: list[PairsList]
    threads: int


def read_lists(protocol: str, data: Path, folder: Path | None) -> list[PairsList]:
    """Read the lists that `protocol` takes, from `folder` or beside the photos of `data`.

    Raises:
        UsageError: one is not there.
    """
    beside = [data / "protocols" / "lfw", data / "protocols", data, data.parent]
    found = []
    for name in LISTS.get(protocol, ()):
        files = [place / name for place in ([folder] if folder else beside)]
        there = next((file for file in files if file.is_file()), None)
        if there is None:
            raise UsageError(
                f"{protocol} needs {name}, which is not in {files[0].parent}; name the folder of "
                "LFW's lists by --lists."
            )
        found.append(read_pairs_list(there))
    return found


def _all(task: Task) -> Evaluation:
    settings = task.params.evaluate
    return evaluate(task.faces, task.model.verifier, task.model.thresholds, settings)


def _pairs(task: Task) -> dict[str, Any]:
    settings = task.params.evaluate
    drawn = random_pairs(
        task.faces, task.model.verifier, settings.pairs, settings.seed, settings.pair_draws
    )
    return {"random_pairs": drawn.figures(settings.far, task.model.thresholds, settings.seed)}


def _one_against_ten(task: Task) -> dict[str, Any]:
    compared = one_against_ten(task.faces, task.model.verifier)
    return {"one_against_ten": compared.figures(task.params.evaluate.seed)}


def _closed_set(task: Task) -> dict[str, Any]:
    known = closed_set(task.faces, task.model.verifier)
    return {"closed_set": known.figures(task.params.evaluate.seed)}


def _open_set(task: Task) -> dict[str, Any]:
    settings, model = task.params.evaluate, task.model
    share, seed = settings.unknown_share, settings.seed
    search = open_set(
        task.faces, model.verifier, model.thresholds,
        gallery_photos=settings.gallery_photos, unknown_share=share, seed=seed,
    )  # fmt: skip
    return {
        "open_set": open_set_figures(search, model.thresholds, seed),
        "gallery_query": gallery_query_figures(search, seed),
        "open_sets": open_sets(
            task.faces, model.verifier, model.thresholds,
            photos=settings.open_set_gallery_photos, unknown_share=share, seed=seed,
        ),
    }  # fmt: skip


def _lfw_view1(task: Task) -> dict[str, Any]:
    seed = task.params.evaluate.seed
    train, test = task.lists
    view = lfw_view1(task.faces, task.model.verifier, train, test, seed)
    return {"lfw_view1": view.figures(seed)}


def _lfw_view2(task: Task) -> dict[str, Any]:
    seed = task.params.evaluate.seed
    view = lfw_view2(task.faces, task.model.verifier, task.lists[0], seed)
    return {"lfw_view2": view.figures(seed)}


def _promise(task: Task) -> dict[str, Any]:
    if task.model.thresholds is None:
        return {
            "promise": [],
            "promise_refused": f"{task.model.name} is no release: nothing was promised",
        }
    verify = task.params.verify
    promises = hold_promise(
        task.faces, task.model.verifier, task.model.thresholds,
        verify.fpir_budgets, verify.gallery_sizes, task.params.evaluate.seed,
    )  # fmt: skip
    return {"promise": [promise.figures for promise in promises]}


def _robustness(task: Task) -> dict[str, Any]:
    settings, model = task.params.evaluate, task.model
    table = measure_robustness(
        task.faces,
        model.verifier,
        model.thresholds,
        data=task.data,
        finder=model.finder,
        embed=model.embed,
        settings=model.crops,
        photos=settings.robustness_photos,
        seed=settings.seed,
        workers=task.threads,
    )
    return {"robustness": table}


PROTOCOLS: Mapping[str, Callable[[Task], dict[str, Any] | Evaluation]] = MappingProxyType(
    {
        "all": _all,
        "pairs": _pairs,
        "one-against-ten": _one_against_ten,
        "closed-set": _closed_set,
        "open-set": _open_set,
        "lfw-view1": _lfw_view1,
        "lfw-view2": _lfw_view2,
        "promise": _promise,
        "robustness": _robustness,
    }
)


def run_protocol(name: str, task: Task) -> tuple[dict[str, Any], Evaluation | None]:
    """Return the figures of the protocol `name`, rounded, with how many people and photos.

    With them comes the evaluation that they are from, of the protocol that runs all.
    """
    figures: dict[str, Any] = {"people": task.faces.people, "photos": len(task.faces)}
    done = PROTOCOLS[name](task)
    evaluation = done if isinstance(done, Evaluation) else None
    figures |= done.figures if isinstance(done, Evaluation) else done
    if task.model.thresholds is None:
        figures = without_probabilities(figures, task.model.name)
    return rounded(figures), evaluation


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
