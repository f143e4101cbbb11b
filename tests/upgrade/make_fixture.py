"""Make a gallery, a release.json and an output folder with the code of an earlier commit.

See README.md for the commands. Photos and people are synthetic. Of two enrolled people one is
renamed and one forgotten, where the commit has these commands; an unknown person is in two photos.
The models (ONNX), reports and MLflow's artifacts are left out: they are large.
"""

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image

WORK = Path("/tmp/upgrade")  # short, and no folder of a user: it is in the results
SOURCE = Path.cwd() / "src"  # of the checkout


def run(*arguments: str) -> bool:
    """Run the command `faceops`; return whether it exists and succeeded."""
    main = "import sys; from faceops.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", main, *arguments]
    return subprocess.run(command, cwd=WORK, env=environment, check=False).returncode == 0


def copy_photos(data: Path) -> tuple[str, str]:
    """Copy an album and photos of two people; return who is to be renamed, and forgotten.

    The album is the scene of fewest faces with an enrolled person and a stranger, twice.
    """
    enrolled = sorted(path.name for path in (data / "enrol").iterdir())
    scenes = defaultdict(list)
    with (data / "album_truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            scenes[row["photo"]].append(row["person"])
    _, scene = min(
        (len(people), photo)
        for photo, people in scenes.items()
        if "/" not in photo and {*people} & {*enrolled} and {*people} - {*enrolled}
    )
    forgotten = next(name for name in scenes[scene] if name in enrolled)
    renamed = next(name for name in enrolled if name not in scenes[scene])
    for name in (renamed, forgotten):
        (WORK / "people" / name).mkdir(parents=True)
        shutil.copy(data / "enrol" / name / f"{name}_0002.jpg", WORK / "people" / name)
    (WORK / "album").mkdir()
    shutil.copy(data / "album" / scene, WORK / "album")
    with Image.open(data / "album" / scene) as image:
        image.save(WORK / "album" / "again.jpg", quality=90)
    return renamed.replace("_", " "), forgotten.replace("_", " ")


def register() -> list[str]:
    """Register the bundle, where the commit has one function for it; return the store's file."""
    import mlflow

    try:
        from faceops.release.registry import register as register_bundle
    except ModuleNotFoundError:
        return []
    os.chdir(WORK)
    mlflow.set_tracking_uri(f"sqlite:///{WORK}/mlflow.db")
    mlflow.set_experiment("faceops")
    with mlflow.start_run() as run:
        mlflow.log_params({"train.miner": "semi_hard"})
    register_bundle(WORK / "bundle", run.info.run_id, "The first release.")
    db = sqlite3.connect(WORK / "mlflow.db", isolation_level=None)
    for table, key in (("tags", "key"), ("logged_model_tags", "tag_key")):
        db.execute(f"DELETE FROM {table} WHERE {key} LIKE 'mlflow.%'")  # paths and users
    db.execute("VACUUM")
    return ["mlflow.db"]


def main(data: Path, weights: Path, target: Path) -> None:
    """Write the archive `target`."""
    try:
        from tests.sface_release import release_sface
    except ModuleNotFoundError:
        from tests.releases import release_sface
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    release_sface(WORK / "bundle", data / "photos", weights)
    store = register()
    renamed, forgotten = copy_photos(data)
    assert run("enrol", "people", "--bundle", "bundle")
    identify = ("identify", "album", "--out", "out", "--bundle", "bundle")
    assert run(*identify)
    run("people", "rename", renamed, "Renamed Person")
    run("people", "forget", forgotten)
    (WORK / "out" / "faces.csv").unlink()  # else the results are reused
    assert run(*identify)
    for folder in ("bundle", "gallery", "out"):
        for path in (WORK / folder).rglob("*"):
            if path.suffix in (".onnx", ".html") or path.name == ".lock":
                path.unlink()
    command = ["tar", "-cJf", str(target), "--sort=name", "--owner=0", "--group=0", "--mtime=@0"]
    subprocess.run([*command, "bundle", "gallery", "out", *store], cwd=WORK, check=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
