"""A small copy of the repository, to run whole pipelines in."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from faceops.config.params_file import read_params, write_params


@dataclass(frozen=True)
class TinyRepository:
    """A copy of the repository in which the whole pipeline has run on a handful of people."""

    root: Path

    def copy(self, root: Path) -> "TinyRepository":
        """Return a copy in the new folder `root`, for tests that change it.

        Its MLflow store keeps the artifacts in this repository's folder.
        """
        shutil.copytree(self.root, root, symlinks=True)
        return TinyRepository(root)

    def run(
        self, *command: str, check: bool = True, server: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with this environment's programs; `server` is Prefect's, if any."""
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            environment.pop(name, None)
        if server:
            environment["PREFECT_API_URL"] = server
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


def copy_repository(source: Path, target: Path) -> None:
    """Copy what git would commit of the working tree `source` to `target`, and commit it there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    commit(target, "copy")


def commit(root: Path, message: str) -> None:
    """Commit everything in `root`."""
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    author = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *author, "commit", "-qm", message], cwd=root, check=True)


PARAMS = """
split: {train: 0.35, val: 0.4, test: 0.25}
validate: {max_rejected_share: 0.2}
evaluate: {robustness_photos: 3}
# So few people allow neither a smaller budget nor smaller rates and losses.
verify: {default_budget: 0.6}
export: {parity_crops: 8}
quantise: {far: 0.3, max_tar_loss: 0.05, calibration_crops: 8}
gate: {min_people: 4, fpir: 0.5, far: 0.1, gallery_photos: 1, min_slice_people: 2,
       max_latency_ratio: 10}  # other tests run at the same time
train: {warmup_epochs: 1, triplet_epochs: 1, people_per_batch: 4, photos_per_person: 2}
"""


def make_tiny(source: Path, root: Path, store: Path | None = None) -> TinyRepository:
    """Copy the repository `source` to `root`, run its pipeline on 24 people, register the result.

    The parameters are in tiny.yaml. `store`: an empty mlflow.db to copy. It takes minutes.
    """
    root.mkdir()
    copy_repository(source, root)
    if store:
        shutil.copy(store, root / "mlflow.db")
    tiny = TinyRepository(root)
    few = ["--gallery", "6", "--strangers", "6", "--scenes", "6"]
    tiny.run("faceops", "data", "synthetic", "--people", "24", "--photos", "4", *few)
    (root / "tiny.yaml").write_text(PARAMS)
    write_params(read_params(root / "tiny.yaml"), root / "params.yaml")
    commit(root, "tiny")
    tiny.run("dvc", "repro")
    commit(root, "built")
    tiny.run("faceops", "release", "register")
    return tiny
