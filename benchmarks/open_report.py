"""How long the report of a run takes to write and to open, by the number of faces.

    python -m benchmarks.open_report [--faces 1000 100000 1000000] [--times 5]

Faces, photos and people are made up (tests/identification/made_up_run.py): one person for 50 faces,
a picture for each face. Reports are written by processes of their own, whose memory without the
report is printed too; then all first pages, and for each a page of people, are opened in headless
Chromium in turn, at 1280 and at 390 pixels. Medians, and the slowest.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import peak_mib, timed
from faceops.identification.report.report import Report
from tests.identification.made_up_run import (
    made_up_blocks,
    made_up_store,
    made_up_summary,
    unknown_people,
)

FACES_OF_A_PERSON = 50
ROOT = Path("/photos/album")
# The policy of the pages allows no polling for a text that is JavaScript.
OPENED = """() => new Promise((done) => new PerformanceObserver((list) => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  const [navigation] = performance.getEntriesByType("navigation");
  if (paint) done([navigation.loadEventEnd, paint.startTime]);
}).observe({ type: "paint", buffered: true }))"""


def write(faces: int, out: Path) -> None:
    """Write a report into `out`; print what it took as JSON."""
    blocks = list(made_up_blocks(ROOT, faces, max(faces // FACES_OF_A_PERSON, 2)))
    people = unknown_people(blocks)
    with made_up_store(out / "state.sqlite", blocks) as store:
        summary = made_up_summary(ROOT, blocks, len(people.people))
        before, report = peak_mib(), Report(ROOT, 0.01)
        started = time.process_time()
        for block in blocks:
            report.add(block)
        report.add_unknown_people(people)
        added = time.process_time()
        report.write(out, store, summary, out / "gallery", out)
        written = time.process_time()
    pages = [path.stat().st_size for path in (out / "report").iterdir()]
    taken = {
        "add, CPU s": round(added - started, 2),
        "write, CPU s": round(written - added, 2),
        "MiB without": round(before),
        "MiB with": round(peak_mib()),
        "first page, MB": round((out / "report.html").stat().st_size / 1e6, 1),
        "pages": len(pages),
        "all pages, MB": round(sum(pages) / 1e6),
        "largest page, MB": round(max(pages) / 1e6, 1),
    }
    print(json.dumps(taken))


def open_all(folders: list[Path], times: int) -> dict[tuple[Path, str], list[tuple[float, float]]]:
    """Return milliseconds to the load event and the first paint, by folder and what was opened."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    found = defaultdict(list)
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in ("report.html", "report/people-1.html"):
            for width in (1280, 390):
                for round_ in range(times + 1):  # the first opening of all is not counted
                    for folder in folders:
                        tab = browser.new_page(viewport={"width": width, "height": 900})
                        tab.goto((folder / name).as_uri())
                        opened = tab.evaluate(OPENED)
                        if round_:
                            found[folder, f"{name} at {width}"].append(opened)
                        tab.close()
        browser.close()
    return found


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write(args.faces[0], args.write)
        return
    with tempfile.TemporaryDirectory(prefix="open_report-") as temporary:
        folders = [Path(temporary, str(faces)) for faces in args.faces]
        for faces, folder in zip(args.faces, folders, strict=True):
            folder.mkdir()
            command = (sys.executable, "-m", "benchmarks.open_report", "--write", folder)
            taken = json.loads(timed(*command, "--faces", str(faces)).output)
            print(f"{faces:>9,} faces  " + "  ".join(f"{name} {taken[name]:g}" for name in taken))
        for (folder, what), both in open_all(folders, args.times).items():
            load, paint = zip(*both, strict=True)
            print(
                f"{int(folder.name):>9,} faces  {what:<30}"
                f"load {statistics.median(load):5.0f} ms (slowest {max(load):.0f})  "
                f"first paint {statistics.median(paint):5.0f} ms (slowest {max(paint):.0f})"
            )


if __name__ == "__main__":
    main()
