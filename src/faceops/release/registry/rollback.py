"""Back to the champion before, in one step."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.release.registry.champions import ROLLED_BACK, champions, earlier_champion
from faceops.release.registry.describe import with_withdrawal
from faceops.release.registry.move_champion import mend_log, move_champion, require_whole
from faceops.release.registry.promotion_lock import promotion_lock
from faceops.release.registry.store import MODEL, store_errors
from faceops.release.registry.versions import Version, champion, find_version, versions

WITHDRAWN = "withdrawn"  # the tag gate of a version that was rolled back from


def rollback(because: str = "", root: Path | None = None) -> tuple[Version, int | None]:
    """Make the champion before the present one champion again; return it, and who was until then.

    It needs no gate: that release was champion before; its bundle is fetched and checked first.
    The verdict that let the present one pass is withdrawn: a rebuild must not bring back what a
    person took away. A rollback that was cut off is ended, not done twice.

    Args:
        because: why, for the log and the version's page.
        root: where the local MLflow store lies when no server is set; default: here.

    Raises:
        FaceOpsError: no champion before is known, or its bundle is damaged.
        StoreError: the store does not answer.
    """
    with promotion_lock():
        before, now = champions(), champion()
        cut_off = mend_log()
        if now is not None and cut_off is not None and cut_off.how == ROLLED_BACK:
            return now, before[-1].version
        existing = {one.version: one for one in versions()}
        number = earlier_champion(champions(), now.version if now else None, existing)
        if number is None:
            held = f"version {now.version}, the champion," if now else "now"
            raise FaceOpsError(
                f"no champion before {held} is known; name one: `faceops release promote VERSION"
                ' --override "reason"`.'
            )
        target = existing[number]
        require_whole(target, root)
        if now is not None:
            withdraw(now, because)
        told = because or (f"from version {now.version}" if now else "there was no champion")
        move_champion(target, now, ROLLED_BACK, told)
    return find_version(str(number)), now.version if now else None


def withdraw(version: Version, because: str) -> None:
    """Take back the verdict on `version`; promoted by a person, it is measured anew."""
    import mlflow

    told = f"rolled back from{f': {because}' if because else ''}"
    with store_errors(f"withdrawing the verdict on version {version.version}"):
        client, number = mlflow.MlflowClient(), str(version.version)
        entry = client.get_model_version(MODEL, number)
        if entry.tags.get("gate") == WITHDRAWN:  # by a rollback that was cut off
            return
        described = with_withdrawal(entry.description or "", told)
        client.update_model_version(MODEL, number, described)
        client.set_model_version_tag(MODEL, number, "gate", WITHDRAWN)
