"""The verdict that holds now: the one that stands, else a new one."""

from pathlib import Path

from faceops.config.sections import Gate
from faceops.release.gate.frozen_photos import data_sha256
from faceops.release.gate.gate_release import gate_release
from faceops.release.gate.record_verdict import StandingVerdict, standing_verdict
from faceops.release.registry.versions import Version


def judge(
    challenger: Version, champion: Version, root: Path, settings: Gate, threads: int
) -> StandingVerdict:
    """Return the verdict on `challenger`, measured only where none stands, pass or not.

    It stands for the same champion, rules and photos, and until a rollback withdraws it. `faceops
    release gate` measures anew whatever stands.

    Raises: as `gate_release`.
    """
    photos = data_sha256(root / settings.data)
    standing = standing_verdict(challenger, champion, settings, root, photos)
    if standing is not None:
        return standing
    verdict = gate_release(challenger, champion, root, settings, threads)
    return StandingVerdict(verdict.passed, "\n".join(verdict.reasons), verdict.markdown())
