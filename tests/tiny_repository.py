"""A small copy of the repository, to run whole pipelines in."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class TinyRepository:
    """A copy of the repository in which the whole pipeline has run on a handful of people."""

    root: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with this environment's programs."""
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            environment.pop(name, None)
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
