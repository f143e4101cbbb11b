"""`make demo`: the main job on synthetic people, from photos to names, and what came of it.

python -m demo            # in the root of the repository, nothing else needed
python -m demo --fresh    # first forget an earlier demo's gallery and findings

It types the commands that a user would type, in order, and ends with the figures. A second call
redoes only what changed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo.summary import write_summary
from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.params_file import experiment_file, read_params, write_params
from faceops.evaluation.album_score import AlbumScore, score_album

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path("build/demo")
GALLERY = DEMO / "gallery"
FOUND = DEMO / "found"


class Step:
    """One command of the demo, what it took."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command
        self.seconds = 0.0
        self.peak_mib = 0

    def run(self) -> None:
        """Run the command in the foreground; its wall time and peak memory are kept."""
        print(f"\n$ {' '.join(self.command)}", flush=True)
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        started = time.monotonic()
        process = subprocess.Popen(self.command, cwd=ROOT, env=environment)
        # wait4 tells the peak of this child and its own children alone.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - started
        self.peak_mib = usage.ru_maxrss // 1024
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
        Step("enrol", ["faceops", "enrol", "data/enrol", "--gallery", str(GALLERY)]),
        Step(
            "identify",
            [
                *("faceops", "identify", "data/album"),
                *("--gallery", str(GALLERY), "--out", str(FOUND), "--annotate"),
            ],
        ),
    ]


def check_params() -> None:
    """Say so when params.yaml is not the demo's, since the figures will be others."""
    path = ROOT / "params.yaml"
    demo = read_params(experiment_file(ROOT, "demo"))
    if not path.is_file():
        write_params(demo, path)
    elif read_params(path) != demo:
        print("params.yaml differs from experiments/demo.yaml: the demo runs with yours.")


def check_data() -> None:
    """Refuse to run over photos that somebody imported."""
    sources = ROOT / "data" / "sources.json"
    if sources.is_file() and "synthetic" not in json.loads(sources.read_text(encoding="utf-8")):
        raise UsageError(
            "data/ holds imported photos, and the demo needs it for its synthetic people; run the"
            " demo in another clone."
        )


def print_summary(done: list[Step], score: AlbumScore) -> None:
    """Print what was found against the truth, what it cost, and where to go next."""
    evaluation = json.loads((ROOT / "build/evaluate/evaluation.json").read_text(encoding="utf-8"))
    lines = write_summary(
        evaluation, score, [(step.name, step.seconds, step.peak_mib) for step in done], ROOT
    )
    named_by = json.loads((ROOT / FOUND / "summary.json").read_text(encoding="utf-8"))
    built = json.loads((ROOT / "build/release/release.json").read_text(encoding="utf-8"))
    if named_by["contract_id"] != built["contract_id"]:
        lines += [
            "",
            "The album was named by the champion, which is not the release just built: move the",
            "alias `champion` (make mlflow) and run the demo with --fresh to see that one.",
        ]
    (ROOT / DEMO / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n" + "\n".join(lines))


def main() -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--fresh", action="store_true", help="forget an earlier demo's gallery and findings"
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
        print_summary(done, score_album(ROOT / FOUND / "faces.csv", ROOT / "data"))
    except FaceOpsError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to continue.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
