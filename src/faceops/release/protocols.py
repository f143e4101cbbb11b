"""The protocols by name, each on the faces of any data and any model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from faceops.base.errors import UsageError
from faceops.config.sections import Params
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.figures import rounded
from faceops.evaluation.gallery_query import gallery_query_figures
from faceops.evaluation.lfw_view1 import lfw_view1
from faceops.evaluation.lfw_view2 import lfw_view2
from faceops.evaluation.one_against_ten import one_against_ten
from faceops.evaluation.open_set import open_set
from faceops.evaluation.open_set_figures import open_set_figures, open_sets
from faceops.evaluation.pairs_list import PairsList, read_pairs_list
from faceops.evaluation.promise import hold_promise
from faceops.evaluation.random_pairs import random_pairs
from faceops.evaluation.robustness import measure_robustness
from faceops.release.measured_model import MeasuredModel
from faceops.release.uncalibrated import without_probabilities

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
