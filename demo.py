"""`make demo`: rebuild, release and identify on synthetic people, then print the figures.

python -m demo            # in the root of the repository
python -m demo --fresh    # first remove an earlier demo's gallery and results

It runs the commands that a user would type, in order. A second call repeats only what changed.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.params_file import experiment_file, read_params, write_params
from faceops.dataset.names import name_key
from faceops.faces.detector import Box, box_overlap
from faceops.release.release_file import stated_contract

ROOT = Path(__file__).resolve().parent
DEMO = Path("build/demo")
GALLERY = DEMO / "gallery"
FOUND = DEMO / "found"
CHAMPION = ("--model", "models:/faceops@champion")  # identify follows the gallery
SAME_FACE = 0.3  # overlap of a found and a true box, intersection over union


class Cost(NamedTuple):
    """What a command or a stage took: wall and CPU time, and the memory of its largest process."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mib: int

    def __str__(self) -> str:
        return f"{self.name:<24}{self.seconds:>9.1f}{self.cpu_seconds:>9.1f}{self.peak_mib:>10}"


class Step:
    """One command of the demo and what it cost."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command
        self.cost = Cost(name, 0.0, 0.0, 0)

    def run(self) -> None:
        """Run the command in the foreground.

        Raises:
            FaceOpsError: it failed.
        """
        print(f"\n$ {' '.join(self.command)}", flush=True)
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        started = time.monotonic()
        process = subprocess.Popen(self.command, cwd=ROOT, env=environment)
        # wait4 measures this child and its own children only.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, cpu_seconds = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        self.cost = Cost(self.name, seconds, cpu_seconds, usage.ru_maxrss // 1024)
        if process.returncode != 0:
            raise FaceOpsError(
                f"`{' '.join(self.command)}` ended with exit code {process.returncode};"
                " its message is above."
            )


def steps() -> list[Step]:
    """Return the demo's commands in order."""
    return [
        Step("synthetic people", ["faceops", "data", "synthetic"]),
        Step("pipeline", ["dvc", "repro"]),
        Step("release", ["faceops", "release", "register"]),
        Step("enrol", ["faceops", "enrol", "data/enrol", "--gallery", str(GALLERY), *CHAMPION]),
        Step(
            "identify",
            [
                *("faceops", "identify", "data/album"),
                *("--gallery", str(GALLERY), "--out", str(FOUND), "--annotate"),
            ],
        ),
    ]


def check_params() -> None:
    """Print a note when params.yaml is not the demo's: the figures will differ."""
    path = ROOT / "params.yaml"
    demo = read_params(experiment_file(ROOT, "demo"))
    if not path.is_file():
        write_params(demo, path)
    elif read_params(path) != demo:
        print("params.yaml differs from experiments/demo.yaml: the demo runs with yours.")


def check_data() -> None:
    """Refuse to overwrite imported photos."""
    sources = ROOT / "data" / "sources.json"
    if sources.is_file() and "synthetic" not in json.loads(sources.read_text(encoding="utf-8")):
        raise UsageError(
            "data/ holds imported photos, and the demo needs it for its synthetic people; run the"
            " demo in another clone."
        )


@dataclass
class AlbumScore:
    """Counts of faces; `known` ones are of enrolled people, `strangers` of nobody enrolled."""

    known: int = 0
    strangers: int = 0
    known_found: int = 0
    strangers_found: int = 0
    correct: int = 0
    wrong: int = 0
    strangers_named: int = 0
    faces_without_truth: int = 0
    named_without_truth: int = 0


def score_album(faces_csv: Path, truth_csv: Path) -> AlbumScore:
    """Compare the records of an album with its ground truth.

    Each true face is matched to the found face that overlaps it most, by an IoU of at least
    `SAME_FACE`; a found face serves once.
    """
    score = AlbumScore()
    found = _boxes(faces_csv, "photo_path")
    for photo, faces in _boxes(truth_csv, "photo").items():
        unmatched = found.setdefault(photo, [])
        for box, person in faces:
            best = max(unmatched, key=lambda face: box_overlap(box, face[0]), default=None)
            matched = best is not None and box_overlap(box, best[0]) >= SAME_FACE
            name = ""
            if best is not None and matched:
                unmatched.remove(best)
                name = best[1]
            if person:
                same = name_key(name) == name_key(person)
                score.known += 1
                score.known_found += matched
                score.correct += bool(name) and same
                score.wrong += bool(name) and not same
            else:
                score.strangers += 1
                score.strangers_found += matched
                score.strangers_named += bool(name)
    rest = [person for faces in found.values() for _, person in faces]
    score.faces_without_truth, score.named_without_truth = len(rest), sum(map(bool, rest))
    return score


def _boxes(path: Path, photo_column: str) -> dict[str, list[tuple[Box, str]]]:
    boxes: dict[str, list[tuple[Box, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["x"]:
                box = float(row["x"]), float(row["y"]), float(row["width"]), float(row["height"])
                boxes.setdefault(row[photo_column], []).append((box, row["person"]))
    return boxes


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({part / whole:.1%})" if whole else "")


def _figure(figures: dict[str, Any], key: str) -> str:
    value = figures.get(key)
    return "-" if value is None else f"{value:.4f}"


def promise_lines(evaluation: dict[str, Any]) -> list[str]:
    """Return a line for each gallery size at which the smallest supported budget was measured."""
    rows = [row for row in evaluation["promise"] if row["seen"] is not None]
    budget = min((row["budget"] for row in rows), default=None)
    return [
        f"  gallery of {row['gallery_faces']:<5} faces: budget {budget:.1%} of strangers named, "
        f"measured {row['seen']:.2%} ({row['seen_interval']['low']:.2%} to "
        f"{row['seen_interval']['high']:.2%}), {row['verdict']}"
        for row in rows
        if row["budget"] == budget
    ]


def stage_costs(root: Path) -> list[Cost]:
    """Return the costs of the DVC stages, as they last ran, in their order."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    costs = []
    for stage in stages:
        path = root / "build" / "costs" / f"{stage}.json"
        if path.is_file():
            costs.append(Cost(f"  {stage}", **json.loads(path.read_text(encoding="utf-8"))))
    return costs


def write_summary(
    evaluation: dict[str, Any],
    score: AlbumScore,
    costs: Sequence[Cost],
    root: Path,
) -> list[str]:
    """Return the lines of the summary."""
    verification = evaluation["verification"]
    open_set = evaluation["open_set"]
    faces, found = score.known + score.strangers, score.known_found + score.strangers_found
    lines = [
        "Evaluation of the release on held-out synthetic people (build/evaluate):",
        f"  verification accuracy      {_figure(verification, 'accuracy')}",
        f"  TAR at FAR 1e-3            {_figure(verification, 'tar_at_far_0.001')}",
        f"  known people identified    {_figure(open_set, 'dir')}",
        f"  strangers given a name     {_figure(open_set, 'fpir')}",
        *promise_lines(evaluation),
        "",
        "The album compared with its ground truth:",
        f"  faces found                {_share(found, faces)}",
        f"  people of the gallery      {_share(score.correct, score.known)} named correctly",
        f"  wrong names given          {score.wrong}",
        f"  strangers given a name     {_share(score.strangers_named, score.strangers)}",
        f"  names given to no face     {score.named_without_truth}",
        "",
        f"{'Cost':<24}{'seconds':>9}{'CPU':>9}{'peak MiB':>10}",
    ]
    for cost in costs:
        lines.append(str(cost))
        if cost.name == "pipeline":
            lines += map(str, stage_costs(root))
    _, seconds, cpu_seconds, peaks = zip(*costs, strict=True)
    lines += [
        str(Cost("all", sum(seconds), sum(cpu_seconds), max(peaks))),
        "",
        "Results",
        "  build/demo/found/report.html        who is in which photo",
        "  build/evaluate/report.html          the evaluation of the release, and its errors",
        "  build/evaluate/model_card.md        the release, its limits, its thresholds",
        "",
        "Next (after `source .venv/bin/activate`)",
        "  faceops enrol PEOPLE_DIR            your own people: PEOPLE_DIR/Name/photo.jpg",
        "  faceops identify PHOTOS_DIR --gallery gallery --out found",
        "  make mlflow                         choose a release in the browser",
        "",
        "Confirm, correct and name the people of this album in the browser",
        f"  faceops review --out {FOUND} --gallery {GALLERY}",
    ]
    return lines


def print_summary(done: list[Step], score: AlbumScore) -> None:
    """Print the figures, the costs and what to do next, and write them to summary.txt."""
    evaluation = json.loads((ROOT / "build/evaluate/evaluation.json").read_text(encoding="utf-8"))
    lines = write_summary(evaluation, score, [step.cost for step in done], ROOT)
    named_by = json.loads((ROOT / FOUND / "summary.json").read_text(encoding="utf-8"))
    built = json.loads((ROOT / "build/release/release.json").read_text(encoding="utf-8"))
    if named_by["contract_id"] != stated_contract(built, named_by["precision"]):
        lines += [
            "",
            "The champion named the album, and it is not the release just built: move the alias",
            "`champion` (make mlflow) and run the demo with --fresh to use that release.",
        ]
    (ROOT / DEMO / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n" + "\n".join(lines))


def main() -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--fresh", action="store_true", help="remove an earlier demo's gallery and results"
    )
    args = parser.parse_args()
    os.chdir(ROOT)
    try:
        check_params()
        check_data()
        if args.fresh:
            shutil.rmtree(DEMO, ignore_errors=True)
        done = steps()
        for step in done:
            step.run()
        print_summary(
            done, score_album(ROOT / FOUND / "faces.csv", ROOT / "data" / "album_truth.csv")
        )
    except FaceOpsError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to continue.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
