"""The life of a release, for real: rebuilt, refused, promoted, rolled back.

python experiments/release_life.py OUT

In OUT, a folder that it makes: a copy of this repository with 130 synthetic people, its two servers
on free ports and a process worker. Runs the deployment `weekly` three times: a small net from
scratch (the first release, so champion), a worse one (the gate must refuse it, with reasons), the
published SFace trained further (the gate must let it pass, and it is promoted). Then one rollback.
Prints what Prefect and the registry say, and takes pictures of their pages into OUT/pictures. About
a quarter of an hour on two cores.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

from deployed_run import Deployed, told

from faceops.base.errors import FaceOpsError

PEOPLE = "--people 130 --photos 6 --gallery 6 --strangers 6 --scenes 6"
COMMON = """
split: {train: 0.35, val: 0.33, test: 0.32}
validate: {max_rejected_share: 0.2}
evaluate: {robustness_photos: 0}
verify: {budget: 0.1}
gate: {fpir: 0.1, far: 0.01, slice_people: 8, latency_ratio: 2.5}
"""
SCRATCH = "people_per_batch: 16, photos_per_person: 4, backbone: resnet18, freeze: false"
SETTINGS = {
    "baseline": f"train: {{{SCRATCH}, warmup_epochs: 6, triplet_epochs: 0, learning_rate: 0.002}}",
    "worse": f"train: {{{SCRATCH}, warmup_epochs: 1, triplet_epochs: 0, embedding_size: 8}}",
    "better": "train: {warmup_epochs: 1, triplet_epochs: 1}",
}
SHOWN = ("the gate", "worse", "champion", "allowed", "lost")


def rebuild(deployed: Deployed, what: str, promote: bool) -> str:
    """Write the experiment `what` and let the worker rebuild with it; return the flow run's id."""
    path = deployed.root / f"{what}.yaml"
    path.write_text(COMMON + SETTINGS[what] + "\n", encoding="utf-8")
    run = deployed.trigger("rebuild/weekly", experiment=str(path), promote=promote)
    told(deployed, what, run, SHOWN)
    return run


def play(deployed: Deployed) -> list[str]:
    """Three rebuilds and a rollback, each with what it left; return the flow runs' ids."""
    print("| run | state | time | message |\n| --- | --- | --- | --- |")
    runs = [rebuild(deployed, what, promote=what != "baseline") for what in SETTINGS]
    print()
    for command in ("list", "show 2", "compare 1 3", "promote 2", "rollback", "list", "show"):
        began = time.monotonic()
        done = deployed.run("faceops", "release", *command.split(), check=False)
        took = time.monotonic() - began
        print(f"$ faceops release {command}    # exit code {done.returncode}, {took:.1f} s")
        print(f"{done.stdout}{done.stderr}")
    return runs


def pictures(deployed: Deployed, runs: list[str], folder: Path) -> None:
    """Take pictures of the pages that a person decides by."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("there is no chromium on the PATH: no pictures")
        return
    folder.mkdir()
    mlflow = deployed.environment["MLFLOW_TRACKING_URI"]
    prefect = deployed.api.removesuffix("/api")
    pages = {
        "mlflow_versions": f"{mlflow}/#/models/faceops",
        "mlflow_refused": f"{mlflow}/#/models/faceops/versions/2",
        "mlflow_passed": f"{mlflow}/#/models/faceops/versions/3",
        "mlflow_runs": f"{mlflow}/#/experiments/1/runs",
        "prefect_runs": f"{prefect}/runs",
        "prefect_refused": f"{prefect}/runs/flow-run/{runs[1]}?tab=Artifacts",
        "prefect_passed": f"{prefect}/runs/flow-run/{runs[2]}",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        for name, address in pages.items():
            page.goto(address)
            page.wait_for_timeout(6000)  # both pages fill themselves by many requests
            page.screenshot(path=str(folder / f"{name}.png"), full_page=True)
        browser.close()
    print("pictures:", *sorted(path.name for path in folder.iterdir()))


def main() -> int:
    """Make the copy, start everything, live a release's life, stop everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists; name a new folder")
    args.out.mkdir(parents=True)
    deployed = Deployed(args.out.resolve())
    try:
        deployed.copy(PEOPLE, COMMON)
        deployed.start()
        runs = play(deployed)
        pictures(deployed, runs, args.out / "pictures")
    except FaceOpsError as error:
        print(f"release_life: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        deployed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
