"""Put the release bundle together: what was exported, how it was evaluated, where it comes from."""

import shutil
import subprocess
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder, sha256_file
from faceops.release.contract import MODEL_FILES, SCHEMA_VERSION, read_release, write_release
from faceops.release.int8.offer import with_int8
from faceops.release.release_file import RELEASE_FILE

EXPORTED = (*MODEL_FILES, RELEASE_FILE)
# What a rebuild itself changes; the release and its run record their content.
RECORDED = (":!dvc.lock", ":!params.yaml", ":!data.dvc")
EVALUATED = ("evaluation.json", "model_card.md")
INT8 = Path("build/quantise/int8")


def git_commit(root: Path) -> str:
    """Return the commit checked out in `root`, with `-dirty` if tracked files differ, else ''."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *RECORDED],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("-dirty" if changed else "")


def assemble(root: Path, target: Path) -> Path:
    """Make the bundle of the last pipeline run of `root` in the folder `target`, whole or not.

    Lineage that would make a DVC output differ from commit to commit (the git commit, the hash of
    dvc.lock) is written into `release.json` only here, and so is the int8 embedder, where the
    quantise stage offers one.

    Raises:
        FaceOpsError: the pipeline has not run to its end.
    """
    sources = [root / "build/export" / name for name in EXPORTED]
    sources += [root / "build/evaluate" / name for name in EVALUATED]
    for source in sources:
        if not source.is_file():
            raise FaceOpsError(f"{source} is missing; run `dvc repro` to its end first.")
    release = with_int8(read_release(root / "build/export"), root / INT8)
    if release.int8 is not None:
        sources.append(root / INT8 / release.int8.file)
    lock = root / "dvc.lock"
    release = release.model_copy(
        update={
            "schema_version": SCHEMA_VERSION,
            "git_commit": git_commit(root),
            "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else "",
        }
    )
    with atomic_folder(target) as temporary:
        for source in sources:
            shutil.copy2(source, temporary / source.name)
        write_release(release, temporary)
    return target
