"""A small copy of the repository, to run whole pipelines in."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from faceops.base.files import sha256_file
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, Ignored
from faceops.gallery.storage import storage_of
from faceops.weights import weight_path
from tests.four_releases import of_data, register_in, write_split


@dataclass(frozen=True)
class TinyRepository:
    """A copy of the repository, with the photos of a handful of people as data/."""

    root: Path
    said: str = ""  # by the rebuild flow

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
evaluate: {robustness_photos: 3, pairs: 700}
# So few people allow neither a smaller budget nor smaller rates; the interval of a loss is wide.
verify: {default_budget: 0.6}
export: {parity_crops: 8, mirrored: false}
quantise: {far: 0.3, max_tar_loss: 0.05, calibration_crops: 8}
gate: {min_people: 4, fpir: 0.5, far: 0.1, gallery_photos: 1, min_slice_people: 2,
       max_dir_loss: 1, max_tar_loss: 1, max_named_loss: 1, max_slice_loss: 1,
       max_latency_ratio: 10}  # other tests run at the same time
train: {warmup_epochs: 1, triplet_epochs: 1, people_per_batch: 4, photos_per_person: 2}
"""


def make_tiny(source: Path, root: Path, *made: Path) -> TinyRepository:
    """Copy the repository `source` to `root` with 24 people; parameters for them are in tiny.yaml.

    `made`: data/ and an empty mlflow.db to copy, else they are made.
    """
    root.mkdir()
    copy_repository(source, root)
    for path in made:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, root / path.name)
    tiny = TinyRepository(root)
    # As the session's set was made, so that nothing is drawn; the pipeline needs six of the scenes.
    few = ["--gallery", "6", "--strangers", "6", "--scenes", "14"]
    tiny.run("faceops", "data", "synthetic", "--people", "24", "--photos", "4", *few)
    for scene in sorted((root / "data/album").glob("scene_*.jpg"))[6:]:
        scene.unlink()
    (root / "tiny.yaml").write_text(PARAMS)
    commit(root, "tiny")
    return tiny


def rebuild_from_review(tiny: TinyRepository, first: Path, server: str) -> TinyRepository:
    """Run the rebuild flow on 12 confirmed faces of four people and on ignored strangers.

    `first`: the bundle of SFace as published; it finds the faces, and is the champion before.
    `server`: Prefect's. It takes minutes.
    """
    register_first(tiny.root, first)
    tiny.run("faceops", "enrol", "data/enrol", "--bundle", str(first))
    tiny.run("faceops", "identify", "data/album", "--out", "found", "--bundle", str(first))
    sources = tiny.root / "data/sources.json"  # real photos would have another source
    sources.write_text(sources.read_text().replace('"synthetic"', '"tree"'))
    decisions, entries = Decisions(), []
    with (tiny.root / "found/faces.csv").open(newline="") as file:
        faces = [row for row in csv.DictReader(file) if row["face_index"]]
    for number, row in enumerate(faces):
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        place = row["photo_id"], (x, y, width, height), (640, 640)
        if number < 12:
            person, naming = decisions.naming(f"Reviewed {'ABCD'[number % 4]}")
            decisions.add(naming)
            entries += [*naming, Entry(Action.CONFIRM, *place, person)]
        else:
            entries.append(Entry(Action.IGNORE, *place, detail=Ignored.STRANGER))
    storage_of(tiny.root / "gallery").journal().append(entries)
    rebuild = ("python", "-m", "flows.rebuild", "--from-review", "gallery", "--promote")
    options = ("--experiment", "tiny.yaml", "--min-decisions", str(len(faces)))
    done = tiny.run(*rebuild, *options, server=server)
    commit(tiny.root, "built")
    return TinyRepository(tiny.root, done.stdout)


def register_first(root: Path, bundle: Path) -> None:
    """Register SFace as published, a release of synthetic people, with weights to train on from."""
    from faceops.embedding.backbones.build import save_model
    from faceops.embedding.backbones.mobilefacenet import load_sface

    folder = root / "build/first"
    save_model(load_sface(weight_path("sface")), folder / "trained")
    split = write_split(folder / "split", root / "data/photos")
    data = {"sources": {"synthetic": {}}, "faces_sha256": sha256_file(split)}
    of_data(bundle, folder / "bundle", data)
    register_in(root, folder / "bundle", folder / "trained", folder / "split")
