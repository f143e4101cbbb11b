"""Gate a release, record the verdict with its version in MLflow, and make it champion.

A release becomes champion after it has passed the gate, or for a stated reason.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, write_file
from faceops.base.stores import is_url
from faceops.config.sections import Gate
from faceops.dataset.data_folder import local_copy
from faceops.gate.compare import VERDICT_VERSION, Comparison, Verdict
from faceops.gate.rules import TIME, verdict_on
from faceops.gate.trials import data_sha256, freeze, touched_by_review
from faceops.registry import PUBLISHED, published_folder, store
from faceops.registry import champion as registry
from faceops.registry.fetch import fetch_artifact, load_fetched, require_loadable
from faceops.registry.published import calibration_people, load_published
from faceops.registry.store import MODEL, Version, champion, find_version, store_errors
from faceops.release.bundle import Bundle
from faceops.release.evaluate.embed_photos import labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel, PeopleSeen, people_seen

FOLDER = Path("build/gate")
DATA = Path("data")
FACES = Path("build/evaluations")  # shared with `faceops evaluate --data`
PASSED, REFUSED = "passed", "refused"
_INCOMPLETE = "being recorded"
_LONGEST = 4000  # characters: some stores keep 5,000
# How the reasons of the rule on time begin, here and in earlier versions.
_TIME_REASONS = (f"{TIME}:", "time a photo:")


class RefusedError(FaceOpsError):
    """The gate refused the release; the message has its reasons."""


@dataclass(frozen=True)
class Promotion:
    """`version` is champion and replaced the version `over` (None: there was no champion)."""

    version: int
    over: int | None
    message: str


@dataclass(frozen=True)
class StoredVerdict:
    """A recorded verdict; `reasons` are lines of text."""

    passed: bool
    reasons: str
    markdown: str


def gate_release(
    challenger: Version, champion: Version | None, root: Path, settings: Gate, threads: int = 1
) -> Verdict:
    """Measure `challenger` against `champion`, or the published release, and return the verdict.

    It is recorded with the version in MLflow and in `root`/build/gate.

    Args:
        challenger, champion: versions in the store that MLflow points at; `champion` None is the
            published release.
        root: the repository: relative folders in `settings` start from it.

    Raises:
        UsageError: the folder of photos does not exist or holds none.
        FaceOpsError: a release is damaged, a photo cannot be read, or the photos are not the
            pinned ones.
        StoreError: the store refused the verdict or does not answer.
    """
    versions = (champion, challenger)
    data = _photos_of(root, settings)
    models = [_open(version, root, threads) for version in versions]
    people = {photo.person for photo in labelled_photos(data) if photo.person}
    seen = [
        _seen(model, version, people, root) for model, version in zip(models, versions, strict=True)
    ]
    reviewed_people, reviewed_photos = touched_by_review({root / DATA, data})
    frozen = freeze(
        data,
        {person for one in seen for person in one.split or ()} | reviewed_people,
        settings.photos_sha256,
        reviewed_photos.union(*(one.photos for one in seen)),
    )
    slices = str(root / settings.slices) if settings.slices else ""
    complete = settings.model_copy(update={"slices": slices})
    both, seen_of_both = (models[0], models[1]), (seen[0], seen[1])
    comparison = Comparison(both, frozen, complete, seen_of_both, root / FACES, threads)
    verdict = verdict_on(comparison)
    record_verdict(challenger, champion, verdict, settings, root)
    write_file(root / FOLDER / "verdict.json", verdict.json())
    write_file(root / FOLDER / "verdict.md", verdict.markdown())
    return verdict


def _name(version: Version | None) -> str:
    return f"version {version.version}" if version else "the published release"


def _open(version: Version | None, root: Path, threads: int) -> MeasuredModel:
    name = _name(version)
    if version is None:
        return replace(MeasuredModel.from_bundle(load_published(threads)), name=name)
    return MeasuredModel.from_bundle(
        load_fetched(
            version.address, lambda it: Bundle.load(it.folder, threads=threads, name=name), root
        )
    )


def _seen(
    model: MeasuredModel, version: Version | None, people: set[str], root: Path
) -> PeopleSeen:
    if version is None:
        used = calibration_people(people)
        message = (
            f"of {len(people)} people, {len(used)} calibrated {model.name}; its weights "
            f"({model.source}) may have been trained on photos of these people"
        )
        return PeopleSeen(dict.fromkeys(used, "val"), message)
    stored = fetch_artifact(
        version, store.SPLIT_ARTIFACT, root / FOLDER / "splits" / str(version.version)
    )
    return people_seen(model, people, stored or root / store.SPLIT_FILE)


def _photos_of(root: Path, settings: Gate) -> Path:
    """Return the folder of the photos; of a URL, that of an up-to-date copy."""
    if is_url(settings.data):
        return local_copy(settings.data, root / FACES)
    return root / settings.data


def record_verdict(
    challenger: Version, champion: Version | None, verdict: Verdict, settings: Gate, root: Path
) -> None:
    """Write the verdict to the challenger: artifacts of its run, tags and its description.

    `champion` None is the published release, here and in `find_stored_verdict`.

    It replaces an earlier verdict, in the run only one against the same champion. Interrupted, it
    leaves no verdict that `find_stored_verdict` returns.

    Raises StoreError: the store refused it or does not answer.
    """
    number, folder = str(challenger.version), _folder(champion)
    tags = {
        "gate": _INCOMPLETE,
        "gate_against": _against(champion),
        "gate_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gate_reasons": "\n".join(verdict.reasons)[:_LONGEST],
        "gate_photos_sha256": verdict.photos_sha256,
        "gate_data_sha256": verdict.data_sha256,
        "gate_rules_sha256": rules_sha256(settings, root),
    }
    with store_errors(f"recording the verdict on version {number}"):
        client = mlflow.MlflowClient()
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, number, name, value)
        if challenger.run_id:
            client.log_text(challenger.run_id, verdict.json(), f"{folder}/verdict.json")
            client.log_text(challenger.run_id, verdict.markdown(), f"{folder}/verdict.md")
        before = client.get_model_version(MODEL, number).description or ""
        client.update_model_version(MODEL, number, store.with_verdict(before, verdict.markdown()))
        # Last, because it marks the rest as complete.
        result = PASSED if verdict.passed else REFUSED
        client.set_model_version_tag(MODEL, number, "gate", result)


def find_stored_verdict(
    challenger: Version, champion: Version | None, settings: Gate, root: Path, data_sha256: str
) -> StoredVerdict | None:
    """Return the verdict on the challenger against this champion, by these rules and photos.

    None where there is none, and where it was refused for its time per photo alone: that depends
    on what else the machine did, so it is measured again.

    `data_sha256`: of the folder of photos as it is now, see `FrozenPhotos`.

    Raises StoreError: the store does not answer.
    """
    with store_errors(f"reading the verdict on version {challenger.version}"):
        client = mlflow.MlflowClient()
        tags = client.get_model_version(MODEL, str(challenger.version)).tags
        expected = {
            "gate_against": _against(champion),
            "gate_data_sha256": data_sha256,
            "gate_rules_sha256": rules_sha256(settings, root),
        }
        result, reasons = tags.get("gate"), tags.get("gate_reasons", "")
        if result not in (PASSED, REFUSED) or not expected.items() <= tags.items():
            return None
        if result == REFUSED and all(r.startswith(_TIME_REASONS) for r in reasons.splitlines()):
            return None
        markdown = ""
        if challenger.run_id:
            path = f"{_folder(champion)}/verdict.md"
            files = client.list_artifacts(challenger.run_id, _folder(champion))
            if path in {file.path for file in files}:
                markdown = mlflow.artifacts.load_text(f"runs:/{challenger.run_id}/{path}")
    return StoredVerdict(result == PASSED, reasons, markdown)


def rules_sha256(settings: Gate, root: Path) -> str:
    """Return the sha256 of the version of the rules, the parameters and the CSV that they name.

    Raises FaceOpsError: the CSV cannot be read.
    """
    content = f"{VERDICT_VERSION} {settings.model_dump_json()}"
    if settings.slices and (root / settings.slices).is_file():
        content += sha256_file(root / settings.slices)
    return hashlib.sha256(content.encode()).hexdigest()


def _against(champion: Version | None) -> str:
    """Return what the verdict is against: a version's number, or which published release."""
    return str(champion.version) if champion else published_folder().name


def _folder(champion: Version | None) -> str:
    return f"gate/against_{champion.version if champion else PUBLISHED}"


def stored_or_new_verdict(
    challenger: Version, champion: Version | None, root: Path, settings: Gate, threads: int
) -> StoredVerdict:
    """Return the stored verdict on `challenger`; measure it if none can be reused.

    Raises: as `gate_release`.
    """
    photos = data_sha256(_photos_of(root, settings))
    stored = find_stored_verdict(challenger, champion, settings, root, photos)
    if stored is not None:
        return stored
    verdict = gate_release(challenger, champion, root, settings, threads)
    return StoredVerdict(verdict.passed, "\n".join(verdict.reasons), verdict.markdown())


def promote(
    version: Version, root: Path, settings: Gate, *, override: str = "", threads: int = 1
) -> Promotion:
    """Make `version` champion if it passes the gate.

    Where there never was a champion, it is compared with the published release. The gate measures
    before the lock is taken, so that a rollback need not wait for it. The move is under the lock
    and begins with a check that the champion is still the one measured against: if it changed in
    the meantime, the promotion fails. For one machine this is enough; for others see
    `move_champion`. Other arguments are as in `gate_release`.

    `override`: a reason to promote it without the gate; recorded.

    Raises:
        RefusedError: the gate refused it.
        FaceOpsError: another promotion runs, the champion has lost its alias, the bundle of
            `version` is damaged, or as `gate_release`.
    """
    current = champion()
    if current is not None and current.version == version.version:
        with registry.promotion_lock():
            registry.complete_log()
            registry.end_challenge(version)
        return Promotion(version.version, None, "it is champion already")
    require_loadable(version, root)
    if override:
        because = f"override: {override}"
    elif current is None and registry.champions():
        raise FaceOpsError(
            "no version is champion any longer, so the gate has nothing to compare with; `faceops "
            'release rollback` restores the last champion, or give --override "reason".'
        )
    else:
        verdict = stored_or_new_verdict(version, current, root, settings, threads)
        if not verdict.passed:
            stays = f"{_name(current)} stays {'champion' if current else 'the default'}"
            raise RefusedError(
                f"the gate refused version {version.version}, and {stays}: "
                f"{' '.join(verdict.reasons.splitlines())}"
            )
        because = f"it passed the gate against {_name(current)}"
    with registry.promotion_lock():
        registry.complete_log()
        registry.move_champion(version, current, registry.PROMOTED, because)
    return Promotion(version.version, current.version if current else None, because)


def gate_and_promote(
    number: int, root: Path, settings: Gate, *, move: bool, threads: int
) -> dict[str, Any]:
    """Gate version `number` after a rebuild, and return the outcome.

    Returns a dict with `gate` (passed, refused, withdrawn, or "" where it is champion itself or the
    champion has lost its alias), `reasons` (list), `verdict` (Markdown), `message` (a sentence),
    `promoted` and `aliases`. Other arguments are as in `gate_release`.

    Args:
        move: promote it if it passes. A version that was rolled back is never promoted
            automatically: a person had a reason, and can promote it again.

    Raises: as `gate_release` and `promote`.
    """
    store.point_at_store(root)
    version, current = find_version(str(number)), champion()
    result: dict[str, Any] = {"gate": "", "reasons": [], "verdict": "", "promoted": False}
    if current is not None and current.version == number:
        message = "it is champion"
    elif current is None and registry.champions():
        message = "no version is champion any longer"
    elif version.gate == registry.WITHDRAWN:
        result["gate"] = version.gate
        message = (
            f"version {number} was champion and was rolled back: it is promoted only by "
            f"`faceops release promote {number}`"
        )
    else:
        verdict = stored_or_new_verdict(version, current, root, settings, threads)
        passed, reasons = verdict.passed, verdict.reasons.splitlines()
        result |= {"gate": "passed" if passed else "refused", "reasons": reasons}
        result |= {"verdict": verdict.markdown, "promoted": passed and move}
        message = f"{'it passed the gate' if passed else 'the gate refused it'}, against "
        message += f"{_name(current)}; its page in MLflow has the verdict"
        if result["promoted"]:
            promote(version, root, settings, threads=threads)
            message += "; it is champion now"
    return result | {"aliases": find_version(str(number)).aliases, "message": message}
