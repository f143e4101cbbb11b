"""Make a release champion: after it has passed the gate, or for a stated reason."""

from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Gate
from faceops.release.gate.judge import judge
from faceops.release.registry.champions import PROMOTED, champions
from faceops.release.registry.move_champion import (
    end_challenge,
    mend_log,
    move_champion,
    require_whole,
)
from faceops.release.registry.promotion_lock import promotion_lock
from faceops.release.registry.versions import Version, champion


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
            mend_log()
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
        mend_log()
        move_champion(version, now, PROMOTED, because)
    return Promotion(version.version, now.version if now else None, because)


def _no_champion() -> str:
    mend = 'give --override "reason"'
    if champions():
        mend = f"`faceops release rollback` puts the last champion back, or {mend}"
    return f"no version is champion, so the gate has nothing to compare with; {mend}."
