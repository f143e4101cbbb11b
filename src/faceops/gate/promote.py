"""Make a release champion: after it has passed the gate, or for a stated reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.config.sections import Gate
from faceops.gate.compare import compare
from faceops.gate.photos import data_sha256, freeze
from faceops.gate.verdict import (
    PASSED,
    REFUSED,
    StoredVerdict,
    Verdict,
    as_json,
    find_stored_verdict,
    record_verdict,
)
from faceops.registry.champion import (
    WITHDRAWN,
    complete_log,
    end_challenge,
    move_champion,
    promotion_lock,
    require_whole,
)
from faceops.registry.fetch import SPLIT_FILE, fetch_split, load_found
from faceops.registry.store import point_at_store
from faceops.registry.versions import PROMOTED, Version, champion, champions, find_version
from faceops.release.bundle import Bundle
from faceops.release.evaluate.embed_photos import labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel, of_bundle
from faceops.release.evaluate.people_seen import PeopleSeen, people_seen

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


def judge(
    challenger: Version, champion: Version, root: Path, settings: Gate, threads: int
) -> StoredVerdict:
    """Return the verdict on `challenger`, measured only where none stands, pass or not.

    It stands for the same champion, rules and photos, and until a rollback withdraws it. `faceops
    release gate` measures anew whatever stands.

    Raises: as `gate_release`.
    """
    photos = data_sha256(root / settings.data)
    standing = find_stored_verdict(challenger, champion, settings, root, photos)
    if standing is not None:
        return standing
    verdict = gate_release(challenger, champion, root, settings, threads)
    return StoredVerdict(verdict.passed, "\n".join(verdict.reasons), verdict.markdown())


class RefusedError(FaceOpsError):
    """The gate refused the release; the message has its reasons."""


@dataclass(frozen=True)
class Promotion:
    """`version` is champion, `over` that version (None: there was none); `told` says why."""

    version: int
    over: int | None
    told: str


def promote(
    version: Version, root: Path, settings: Gate, *, override: str = "", threads: int = 1
) -> Promotion:
    """Make `version` champion.

    A verdict that stands is not sought again. The gate measures before anything is locked, so a
    rollback need not wait for it; a champion who changes meanwhile ends the promotion.

    Args:
        root: the repository; see `gate_release`.
        override: why it is to be champion whatever the gate says or would say; recorded.

    Raises:
        RefusedError: the gate refused it.
        FaceOpsError: another promotion is under way, nobody is champion to compare it with, its
            bundle is damaged, or what `gate_release` raises.
    """
    now = champion()
    if now is not None and now.version == version.version:
        with promotion_lock():
            complete_log()
            end_challenge(version)
        return Promotion(version.version, None, "it is champion already")
    require_whole(version, root)
    if override:
        because = f"override: {override}"
    elif now is None:
        raise FaceOpsError(_no_champion())
    else:
        verdict = judge(version, now, root, settings, threads)
        if not verdict.passed:
            raise RefusedError(
                f"the gate refused version {version.version}, and version {now.version} stays"
                f" champion: {' '.join(verdict.reasons.splitlines())}"
            )
        because = f"it passed the gate against version {now.version}"
    with promotion_lock():
        complete_log()
        move_champion(version, now, PROMOTED, because)
    return Promotion(version.version, now.version if now else None, because)


def _no_champion() -> str:
    mend = 'give --override "reason"'
    if champions():
        mend = f"`faceops release rollback` puts the last champion back, or {mend}"
    return f"no version is champion, so the gate has nothing to compare with; {mend}."


def gate_and_promote(
    number: int, root: Path, settings: Gate, *, move: bool, threads: int
) -> dict[str, Any]:
    """Return what became of version `number`, as a dict.

    Its keys: `gate` (passed, refused, withdrawn, or "" where there is no other champion to hold it
    against), `reasons` (list), `verdict` (Markdown), `told` (a sentence), `promoted`, `aliases`.

    Args:
        root: the repository; see `gate_release`.
        move: make it champion where it passes. One that was rolled back from is not: a person
            who did that had a reason, and a person may promote it again.

    Raises: as `gate_release` and `promote`.
    """
    point_at_store(root)
    version, now = find_version(str(number)), champion()
    judged: dict[str, Any] = {"gate": "", "reasons": [], "verdict": "", "promoted": False}
    if now is None or now.version == number:
        told = "no version is champion" if now is None else "it is champion"
        return judged | {"aliases": version.aliases, "told": told}
    if version.gate == WITHDRAWN:
        told = (
            f"version {number} was champion and was rolled back from: it stays as it is until "
            f"`faceops release promote {number}`"
        )
        return judged | {"gate": WITHDRAWN, "aliases": version.aliases, "told": told}
    verdict = judge(version, now, root, settings, threads)
    judged["gate"] = PASSED if verdict.passed else REFUSED
    judged["reasons"], judged["verdict"] = verdict.reasons.splitlines(), verdict.markdown
    told = f"the gate {'let it pass' if verdict.passed else 'refused it'}, against "
    told += f"version {now.version}; its page in MLflow says on what grounds"
    if verdict.passed and move:
        promote(version, root, settings, threads=threads)
        judged["promoted"] = True
        told += "; it is champion now"
    return judged | {"aliases": find_version(str(number)).aliases, "told": told}
