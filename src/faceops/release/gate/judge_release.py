"""What a rebuild does with its release: hold it against the champion, and promote it or not."""

from pathlib import Path
from typing import Any

from faceops.config.sections import Gate
from faceops.release.gate.judge import judge
from faceops.release.gate.promote import promote
from faceops.release.gate.record_verdict import PASSED, REFUSED
from faceops.release.registry.rollback import WITHDRAWN
from faceops.release.registry.tracking import point_at_store
from faceops.release.registry.versions import champion, find_version


def judge_release(
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
