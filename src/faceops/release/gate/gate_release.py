"""Hold one registered release against another, on photos of people whom neither has seen."""

from pathlib import Path

from faceops.base.files import write_file
from faceops.config.sections import Gate
from faceops.release.bundle import Bundle
from faceops.release.gate.compare import compare
from faceops.release.gate.frozen_photos import freeze
from faceops.release.gate.record_verdict import as_json, record_verdict
from faceops.release.gate.verdict import Verdict
from faceops.release.labelled_photos import labelled_photos
from faceops.release.measured_model import MeasuredModel, of_bundle
from faceops.release.people_seen import PeopleSeen, people_seen
from faceops.release.registry.fetch_split import SPLIT_FILE, fetch_split
from faceops.release.registry.find_release import load_found
from faceops.release.registry.versions import Version

FOLDER = Path("build/gate")
FACES = Path("build/evaluations")  # shared with `faceops evaluate --data`


def gate_release(
    challenger: Version, champion: Version, root: Path, settings: Gate, threads: int = 1
) -> Verdict:
    """Return the verdict on `challenger`, and record it with it and in `root`/build/gate.

    Args:
        root: the repository: relative folders in `settings` start from it.
        threads: photos looked at at once.

    Raises:
        UsageError: the folder of photos is not there or holds none.
        FaceOpsError: a release is damaged, a photo cannot be read, or the photos are not those
            that are pinned.
        StoreError: the store refused or does not answer.
    """
    data = root / settings.data
    people = {photo.person for photo in labelled_photos(data) if photo.person}
    models = [_open(version, root, threads) for version in (champion, challenger)]
    seen = [
        _seen(model, version, people, root)
        for model, version in zip(models, (champion, challenger), strict=True)
    ]
    out = {person for one in seen for person in one.split or ()}
    photos = frozenset().union(*(one.photos for one in seen))
    frozen = freeze(data, out, settings.photos_sha256, photos)
    verdict = compare(
        models[0],
        models[1],
        frozen,
        settings.model_copy(update={"slices": str(root / settings.slices)})
        if settings.slices
        else settings,
        root / FACES,
        seen=[one.told for one in seen],
        unknown=[one.told for one in seen if one.split is None],
        threads=threads,
    )
    record_verdict(challenger, champion, verdict, settings, root)
    write_file(root / FOLDER / "verdict.json", as_json(verdict))
    write_file(root / FOLDER / "verdict.md", verdict.markdown())
    return verdict


def _open(version: Version, root: Path, threads: int) -> MeasuredModel:
    name = f"version {version.version}"
    bundle = load_found(
        version.address, lambda it: Bundle.load(it.folder, threads=threads, name=name), root
    )
    return of_bundle(bundle)


def _seen(model: MeasuredModel, version: Version, people: set[str], root: Path) -> PeopleSeen:
    kept = fetch_split(version, root / FOLDER / "splits" / str(version.version))
    return people_seen(model, people, kept or root / SPLIT_FILE)
