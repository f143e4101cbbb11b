"""What a rebuild does with its release: hold it against the champion, and promote it or not."""

from pathlib import Path
from typing import Any

from faceops.config.sections import Gate
from faceops.release.gate.gate_release import gate_release
from faceops.release.gate.promote import promote
from faceops.release.gate.record_verdict import PASSED, REFUSED, standing_verdict
from faceops.release.registry.tracking import point_at_store
from faceops.release.registry.versions import champion, find_version


def judge_release(
    number: int, root: Path, settings: Gate, *, move: bool, threads: int
) -> dict[str, Any]:
    """Return `gate` (passed, refused or ""), its `reasons`, `verdict` (Markdown), `told`,
    `promoted` and `aliases`.

    Without a champion other than version `number` there is nothing to hold it against, and `gate`
    is "". A verdict that stands is not sought again.

    Args:
        root: the repository; see `gate_release`.
        move: make it champion where it passes.

    Raises: as `gate_release` and `promote`.
    """
    point_at_store(root)
    version, now = find_version(str(number)), champion()
    judged: dict[str, Any] = {"gate": "", "reasons": [], "verdict": "", "promoted": False}
    if now is None or now.version == number:
        told = "no version is champion" if now is None else "it is champion"
        return judged | {"aliases": version.aliases, "told": told}
    if standing_verdict(version, now, settings) == PASSED:
        judged["gate"] = PASSED
    else:
        verdict = gate_release(version, now, root, settings, threads)
        judged["gate"] = PASSED if verdict.passed else REFUSED
        judged["reasons"], judged["verdict"] = verdict.reasons, verdict.markdown()
    told = f"the gate {'let it pass' if judged['gate'] == PASSED else 'refused it'}, against "
    told += f"version {now.version}; its page in MLflow says on what grounds"
    if judged["gate"] == PASSED and move:
        promote(version, root, settings, threads=threads)
        judged["promoted"] = True
        told += "; it is champion now"
    return judged | {"aliases": find_version(str(number)).aliases, "told": told}
