"""What a run costs after the model has changed, with and without kept crops.

python -m benchmarks.identify_next_model --photos DIR --people DIR --bundle build/export --out OUT

The next release is the bundle with noise in its embedder (tests/altered_release.py). Each
line is a command of its own, timed as a whole: the first run, with and without --keep-crops; the
gallery embedded anew; the run under the next release; and back to the first one. The rows of the
runs under the next release must be equal.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from tests.altered_release import alter_release

FACEOPS = [sys.executable, "-m", "faceops.cli"]


def run(*command: str | Path) -> float:
    """Return the seconds that a command takes; end if it fails."""
    began = time.monotonic()
    line = [*FACEOPS, *map(str, command)]
    if subprocess.run(line, stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit(f"{' '.join(line)} failed")
    return time.monotonic() - began


def main() -> None:
    """Run under one release, then under the next, and back; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--people", type=Path, required=True, metavar="DIR")
    parser.add_argument("--bundle", type=Path, default=Path("build/export"), metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    if args.out.exists():
        sys.exit(f"{args.out} exists; name another folder with --out.")
    args.out.mkdir(parents=True)
    after = alter_release(args.bundle, args.out / "next")
    gallery, earlier = args.out / "gallery", args.out / "gallery_before"
    print(f"enrol {run('enrol', args.people, '--gallery', gallery, '--bundle', args.bundle):.1f} s")
    shutil.copytree(gallery, earlier)
    seconds = run("people", "reembed", "--gallery", gallery, "--bundle", after)
    print(f"people reembed {seconds:.1f} s")
    print(f"{'':<12} {'run':<14} {'s':>7} {'opened':>7} {'reembedded':>11} {'state MB':>9}")
    rows = []
    for name, options in (("kept crops", ["--keep-crops"]), ("without", [])):
        out = args.out / name.replace(" ", "_")
        for stage, people, release in (
            ("first", earlier, args.bundle),
            ("next model", gallery, after),
            ("back", earlier, args.bundle),
        ):
            command = ["identify", args.photos, "--gallery", people, "--out", out, *options]
            seconds = run(*command, "--bundle", release)
            summary = json.loads((out / "summary.json").read_text("utf-8"))
            size = (out / "state.sqlite").stat().st_size / 1e6
            print(
                f"{name:<12} {stage:<14} {seconds:7.1f} {summary['photos_opened']:7} "
                f"{summary['photos_reembedded']:11} {size:9.1f}",
                flush=True,
            )
            if stage == "next model":
                rows.append(pq.read_table(out / "faces.parquet").drop_columns("run_id"))
    faces = len(rows[0])
    print(f"{faces} rows; equal with and without kept crops: {rows[0].equals(rows[1])}")


if __name__ == "__main__":
    main()
