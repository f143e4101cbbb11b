"""Whether the report of a large run can be used: size, opening, search, scrolling in Chromium.

python experiments/report_at_scale.py --data data --bundle build/export --out OUT

LFW's photos and, in a second folder, as many of them again with a byte more as it takes (other
photos to the program, the same faces) are named from a gallery of people with two photos each.
The page is then opened in headless Chromium, wide and narrow, cold each time. A second call with
the same --out reuses what was found, so that the page can be changed and measured again.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faceops.base.progress import track

WIDTHS = (1280, 390)
WORDS = ("george", "colin", "zzz", "_0007", "aa")
# Counts long tasks, and the time from a key to the first frame that shows what it did.
PROBE = """
window.tasks = []; window.keys = []; let pressed = 0;
new PerformanceObserver(list => tasks.push(...list.getEntries().map(e => e.duration)))
  .observe({type: "longtask", buffered: true});
addEventListener("keydown", event => { pressed = event.timeStamp; }, true);
addEventListener("input", () => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => keys.push(performance.now() - pressed);
  channel.port2.postMessage(0);
}), true);
"""
SCROLL = """async () => {
  const frames = []; let last = await new Promise(requestAnimationFrame);
  const step = Math.max(innerHeight, document.documentElement.scrollHeight / 150);
  for (let i = 0; i < 150; i++) {
    scrollBy(0, step);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last); last = now;
  }
  scrollTo(0, 0);
  return frames;
}"""


def lay_out(photos: Path, out: Path, people: int, wanted: int) -> None:
    """Copy two photos of each of `people` to `out`/people, `wanted` photos to `out`/album."""
    if (out / "album").is_dir():
        return
    listed = sorted(path.relative_to(photos) for path in photos.glob("*/*.jpg"))
    counts = Counter(path.parts[0] for path in listed)
    able = [person for person, count in sorted(counts.items()) if count >= 4][:people]
    for path in track(listed, "copy"):
        target = out / "album.part" / "lfw" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photos / path, target)
    for path in listed[: max(0, wanted - len(listed))]:
        target = out / "album.part" / "again" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((photos / path).read_bytes() + b"\n")
    for person in able:
        for path in [path for path in listed if path.parts[0] == person][:2]:
            target = out / "people" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photos / path, target)
    (out / "album.part").rename(out / "album")


def name_people(out: Path, bundle: Path) -> Path:
    """Enrol and identify unless the latest results stand; return the report."""
    faceops = [sys.executable, "-m", "faceops.cli"]
    gallery = ["--gallery", str(out / "gallery"), "--bundle", str(bundle)]
    if not (out / "gallery").exists():
        subprocess.run([*faceops, "enrol", str(out / "people"), *gallery], check=True)
    (out / "found" / "summary.json").unlink(missing_ok=True)  # the page is to be made anew
    command = [*faceops, "identify", str(out / "album"), *gallery, "--out", str(out / "found")]
    subprocess.run(command, check=True)
    return out / "found" / "report.html"


def measure(browser: Any, page: Path, width: int) -> dict[str, float]:
    """Open the page at this width and use it; times in milliseconds."""
    tab = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    tab.add_init_script(PROBE)
    tab.goto(page.as_uri(), wait_until="load")
    opened = tab.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    tab.wait_for_timeout(1000)
    longest_opening = tab.evaluate("Math.max(0, ...tasks)")
    painted = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    frames = tab.evaluate(SCROLL)
    tab.evaluate("tasks.length = 0")
    tab.keyboard.press("/")
    for word in WORDS:
        for key in word:
            tab.keyboard.press(key)
            tab.wait_for_timeout(150)
        tab.keyboard.press("Escape")
        tab.wait_for_timeout(300)
        tab.keyboard.press("/")
    keys = tab.evaluate("keys")
    devtools = tab.context.new_cdp_session(tab)
    devtools.send("Performance.enable")
    devtools.send("HeapProfiler.collectGarbage")
    metrics = {m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}
    figures = {
        "first paint": painted,
        "DOMContentLoaded": opened["domContentLoadedEventEnd"],
        "load": opened["loadEventEnd"],
        "longest task while it opens": longest_opening,
        "key to filtered page, median": statistics.median(keys),
        "key to filtered page, slowest": max(keys),
        "longest task while searching": tab.evaluate("Math.max(0, ...tasks)"),
        "frame while scrolling, median": statistics.median(frames),
        "frame while scrolling, slowest": max(frames),
        "JS heap, MB": metrics["JSHeapUsedSize"] / 1e6,
        "DOM nodes": metrics["Nodes"],
        "wider than the window, px": tab.evaluate("document.documentElement.scrollWidth") - width,
        "keys": len(keys),
    }
    tab.context.close()
    return figures


def not_pictured(tab: Any, paths: Iterable[str]) -> str | None:
    """Return the last of `paths` that the page as it opens shows nowhere."""
    shown = set(tab.evaluate("[...document.querySelectorAll('main a')].map(a => a.title)"))
    return next((path for path in reversed([*paths]) if path not in shown), None)


def seek(browser: Any, page: Path, faces: Path, width: int) -> dict[str, str]:
    """Search for faces and files that the page as it opens does not show; say what came."""
    with faces.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    named = Counter(row["person"] for row in rows if row["person"])
    most = named.most_common(1)[0][0]
    tab = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    tab.goto(page.as_uri(), wait_until="load")
    kinds = {
        f"a photo of {most} ({named[most]} faces)": [r for r in rows if r["person"] == most],
        "an unknown face": [r for r in rows if r["reason"] == "below_threshold"],
        "an ambiguous face": [r for r in rows if r["reason"] == "ambiguous"],
        "a photo without a face": [r for r in rows if r["reason"] == "no_face"],
    }
    answers = {}
    for kind, of_kind in kinds.items():
        path = not_pictured(tab, [row["photo_path"] for row in of_kind])
        if path is None:
            answers[kind] = f"all {len(of_kind)} are shown as it opens"
            continue
        tab.locator("#search").fill(path)
        tab.wait_for_timeout(300)
        link = tab.locator(f'main a[title="{path}"]:visible')
        found = f"{link.count()} links" if link.count() else "not found"
        answers[kind] = f"{path}: {found}; “{tab.locator('#matches').inner_text()}”"
        tab.keyboard.press("Escape")
    tab.context.close()
    return answers


def main() -> None:
    """Make the page, measure it, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="has photos/PERSON/*.jpg")
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    lay_out(args.data / "photos", args.out, args.people, args.photos)
    page = name_people(args.out, args.bundle)
    summary = json.loads((args.out / "found" / "summary.json").read_text("utf-8"))
    print(
        f"{summary['photos']} photos, {summary['faces']} faces, {summary['identified']} named, "
        f"{len(summary['people'])} people, {summary['unknown_people']} unknown people; "
        f"report.html {page.stat().st_size / 1e6:.1f} MB"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        measured = {width: measure(browser, page, width) for width in WIDTHS}
        print("| ms where nothing else is said |", *(f"{width} px |" for width in WIDTHS))
        print("| --- |", *("--- |" for _ in WIDTHS))
        for name in measured[WIDTHS[0]]:
            print(f"| {name} |", *(f"{measured[width][name]:.0f} |" for width in WIDTHS))
        for kind, answer in seek(browser, page, args.out / "found" / "faces.csv", 1280).items():
            print(f"search for {kind}: {answer}")
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            for width in WIDTHS:
                tab = browser.new_page(viewport={"width": width, "height": 1100})
                tab.goto(page.as_uri())
                tab.screenshot(path=args.pictures / f"top_{width}.png")
                tab.close()
        browser.close()


if __name__ == "__main__":
    main()
