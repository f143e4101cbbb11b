"""Make a release champion: after it has passed the gate, or for a stated reason."""

from dataclasses import dataclass
from pathlib import Path

from faceops.config.sections import Gate
from faceops.errors import FaceOpsError
from faceops.release.gate.gate_release import gate_release
from faceops.release.gate.record_verdict import PASSED, standing_verdict
from faceops.release.registry.champions import PROMOTED
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

    A verdict that stands (against the present champion, by these rules) is not sought again.

    Args:
        root: the repository; see `gate_release`.
        override: why it is to be champion whatever the gate says or would say; recorded.

    Raises:
        RefusedError: the gate refused it.
        FaceOpsError: another promotion is under way, nobody is champion to compare it with, its
            bundle is damaged, or what `gate_release` raises.
    """
    with promotion_lock():
        mend_log()
        now = champion()
        if now is not None and now.version == version.version:
            end_challenge(version)
            return Promotion(version.version, None, "it is champion already")
        if now is None and not override:
            raise FaceOpsError(
                "no version is champion, so the gate has nothing to compare with; `faceops release"
                ' rollback` puts the last champion back, or give --override "reason".'
            )
        require_whole(version)
        if override:
            because = f"override: {override}"
        else:
            assert now is not None
            because = _pass(version, now, root, settings, threads)
        move_champion(version, now, PROMOTED, because)
    return Promotion(version.version, now.version if now else None, because)


def _pass(version: Version, now: Version, root: Path, settings: Gate, threads: int) -> str:
    if standing_verdict(version, now, settings) != PASSED:
        verdict = gate_release(version, now, root, settings, threads)
        if not verdict.passed:
            raise RefusedError(
                f"the gate refused version {version.version}, and version {now.version} stays"
                f" champion: {' '.join(verdict.reasons)}"
            )
    return f"it passed the gate against version {now.version}"
