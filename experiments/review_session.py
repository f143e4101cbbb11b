"""How much work is it to correct an album: on the page, and by commands?

    python -m experiments.review_session --photos DIR --out OUT

DIR has a folder of photos for each person, as LFW and Pins. 100 people are enrolled from one photo
each, and 2,000 photos are identified: those of these people, and of others. A simulated reviewer,
who knows the truth, then corrects the results: with the keys of the page in Chromium, and, from the
same start, by commands. A label says who is on a photo, and counts for its central face: right is
the person's name, and no name for others. The reviewer errs in 2 % of the decisions and undoes
half of these errors. It stops at 99 % right, or goes on to the end (--all).

`looks` are the faces and groups that the reviewer has to look at, `decisions` those that it decides
about, `keys` what is pressed or typed, `points` clicks and drags. `machine` is the time that the
reviewer waits. `by hand` adds the time of a person by the keystroke-level model (Card, Moran and
Newell 1980): .28 s a key, 1.1 s a click, and 1.35 s to look at a face or a group.
"""

import csv
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import pyarrow.parquet as pq
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from experiments import parser, run
from faceops.base.errors import FaceOpsError
from faceops.gallery.names import display_name

PEOPLE, PHOTOS = 100, 2000
FEWEST = 10  # photos of an enrolled person
OF_PERSON, OF_OTHERS = 25, 6  # photos of one person in the album, at most
AIM, ERRORS = 0.99, 0.02
KEY_S, LOOK_S, POINT_S = 0.28, 1.35, 1.1
SETTLE_S = 3  # waited for piles that come of decisions
ROUNDS = 4
HEADER = (
    "| by | looks | decisions | keys | points | errors, undone | machine, s | by hand, s | right |"
    f"\n|{' --- |' * 9}"
)


@dataclass
class Effort:
    """What a reviewer did, and the seconds of waiting for it."""

    looks: int = 0
    decisions: int = 0
    keys: int = 0
    points: int = 0
    errors: int = 0
    undone: int = 0
    machine: float = 0.0
    course: list[tuple[int, float]] = field(default_factory=list)  # decisions, share that is right

    def row(self, by: str) -> str:
        """Return a row of the table of `HEADER`."""
        by_hand = KEY_S * self.keys + POINT_S * self.points + LOOK_S * self.looks + self.machine
        course = " → ".join(f"{share:.2%} ({count})" for count, share in self.course)
        cells = (
            *(by, self.looks, self.decisions, self.keys, self.points),
            *(f"{self.errors}, {self.undone}", f"{self.machine:.0f}", f"{by_hand:.0f}", course),
        )
        return f"| {' | '.join(map(str, cells))} |"


class Album:
    """Photos, enrolled people and results below a folder, and who is on the photos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos, self.people = folder / "photos", folder / "people"
        self.gallery, self.found = folder / "gallery", folder / "found"

    def make(self, photos: Path, fewest: int = FEWEST) -> None:
        """Copy the photos, enrol people with `fewest` or more, and identify all photos."""
        draw = random.Random(0)
        files = {path.name: sorted(path.glob("*.jpg")) for path in sorted(photos.iterdir())}
        for some in files.values():
            draw.shuffle(some)
        names = [name for name, some in files.items() if len(some) >= fewest]
        draw.shuffle(names)
        enrolled: dict[str, list[Path]] = {}
        for name in names:  # a person whose photo cannot be enrolled is left out
            self._copy(files[name][0], self.people / name)
            enrolled[name] = files[name][1:OF_PERSON]
            if len(enrolled) == PEOPLE:
                self.faceops("enrol", self.people, "--gallery", self.gallery)
                for gone in set(enrolled) - self._enrolled():
                    shutil.rmtree(self.people / gone)
                    del enrolled[gone]
            if len(enrolled) == PEOPLE:
                break
        others = [name for name in files if name not in enrolled]
        draw.shuffle(others)
        album = [photo for name in others for photo in files[name][:OF_OTHERS]]
        known = [photo for some in enrolled.values() for photo in some]
        draw.shuffle(known)
        for photo in [*known[: PHOTOS * 3 // 4], *album][:PHOTOS]:
            # The folder in the album is no help: it is the truth.
            self._copy(photo, self.photos / photo.parent.name)
        self.identify()

    @staticmethod
    def _copy(photo: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder)

    def _enrolled(self) -> set[str]:
        table = pq.read_table(self.gallery / "faces.parquet", columns=["person"])
        names = {display_name(path.name): path.name for path in self.people.iterdir()}
        return {names[name] for name in table["person"].to_pylist()}

    def faceops(self, *arguments: object) -> float:
        """Run a command; return its seconds."""
        began = time.monotonic()
        command = [sys.executable, "-m", "faceops.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise FaceOpsError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return time.monotonic() - began

    def identify(self) -> float:
        """Identify all photos; return the seconds."""
        where = ("--gallery", self.gallery, "--out", self.found)
        return self.faceops("identify", self.photos, *where)

    def name_of(self, photo: str) -> str:
        """Return who is on a photo, by its path; "" for somebody who is not enrolled."""
        person = Path(photo).parent.name
        return display_name(person) if (self.people / person).is_dir() else ""

    def labelled(self) -> dict[tuple[str, int], dict]:
        """Return the row of the labelled face of each photo, by photo_id and face_index."""
        best: dict[str, tuple[float, dict]] = {}
        for row in pq.read_table(self.found / "faces.parquet").to_pylist():
            apart = float("inf")
            if row["x"] is not None:
                with Image.open(self.photos / row["photo_path"]) as photo:
                    width, height = photo.size
                x, y = row["x"] + row["width"] / 2, row["y"] + row["height"] / 2
                apart = abs(x - width / 2) + abs(y - height / 2)
            before = best.get(row["photo_path"])
            if before is None or apart < before[0]:
                best[row["photo_path"]] = apart, row
        return {(row["photo_id"], row["face_index"]): row for _, row in best.values()}

    def wrong(self) -> list[dict]:
        """Return the rows of labelled faces with a wrong name, or without their name."""
        rows = self.labelled().values()
        return [row for row in rows if (row["person"] or "") != self.name_of(row["photo_path"])]

    def right(self) -> float:
        """Return the share of labelled faces that are right."""
        return 1 - len(self.wrong()) / len(self.labelled())


class Reviewer:
    """Decides by the truth, with errors.

    Args:
        aim: share of labelled faces from which the reviewer stops.
    """

    def __init__(self, album: Album, aim: float) -> None:
        self.album, self.aim = album, aim
        self.effort = Effort()
        self.draw = random.Random(1)

    @property
    def is_done(self) -> bool:
        """Whether enough is right; noted in the effort's course."""
        share = self.album.right()
        self.effort.course.append((self.effort.decisions, share))
        return share >= self.aim


class Commands(Reviewer):
    """Corrects by `faceops name`, and by enrolling further photos."""

    def review(self) -> None:
        """Name groups, then enrol the photos that are still wrong, until enough is right."""
        for _ in range(ROUNDS):
            while not self.is_done and (group := self._next_group()):
                self._name(*group)
            if self.is_done or not self._enrol_wrong():
                return

    def _next_group(self) -> tuple[str, str] | None:
        """Return the largest group of an enrolled person's faces, and the person."""
        names: dict[str, Counter[str]] = {}
        labelled = self.album.labelled()
        with (self.album.found / "unknown.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                is_labelled = (row["photo_id"], int(row["face_index"])) in labelled
                name = self.album.name_of(row["photo_path"]) if is_labelled else ""
                names.setdefault(row["unknown"], Counter())[name] += 1
        for unknown, of in sorted(names.items(), key=lambda one: -one[1].total()):
            self.effort.looks += 1
            person, count = of.most_common(1)[0]
            if person and 2 * count > of.total():
                return unknown, person
        return None

    def _name(self, unknown: str, person: str) -> None:
        album, effort = self.album, self.effort
        where = ("--gallery", album.gallery.name, "--out", album.found.name)
        effort.keys += len(shlex.join(["faceops", "name", unknown, person, *where])) + 1
        effort.machine += album.faceops(
            "name", unknown, person, "--gallery", album.gallery, "--out", album.found, "--trust"
        )
        effort.decisions += 1

    def _enrol_wrong(self) -> int:
        """Copy wrong photos into the folders of their people, enrol and identify; return how many.

        The reviewer finds them in the report. A wrong name of somebody else cannot be taken away.
        """
        album, effort, copied = self.album, self.effort, 0
        folders = {display_name(path.name): path for path in album.people.iterdir()}
        rows = pq.read_table(album.found / "faces.parquet", columns=["decision"])
        effort.looks += rows["decision"].to_pylist().count("unknown")
        for row in album.wrong():
            effort.decisions += 1
            person = album.name_of(row["photo_path"])
            if person and not (folders[person] / Path(row["photo_path"]).name).exists():
                shutil.copy(album.photos / row["photo_path"], folders[person])
                effort.points += 2  # dragged from the report's folder to the person's
                copied += 1
        effort.keys += len("faceops enrol people\nfaceops identify photos --out found\n")
        effort.machine += album.faceops("enrol", album.people, "--gallery", album.gallery)
        effort.machine += album.identify()
        return copied


class OnPage(Reviewer):
    """Corrects with the keys of the page."""

    def review(self) -> None:
        """Decide all piles until enough is right; the page publishes after each round."""
        for _ in range(ROUNDS):
            if self.is_done or not self._round():
                return
        self.effort.course.append((self.effort.decisions, self.album.right()))

    def _round(self) -> int:
        """Decide the faces of all piles once; return how many."""
        before, album = self.effort.decisions, self.album
        where = ("--gallery", str(album.gallery), "--out", str(album.found), "--no-browser")
        command = [sys.executable, "-m", "faceops.cli", "review", *where, "--port", "0"]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = next(line for line in server.stdout if line.startswith("open ")).split()[1]
            with sync_playwright() as playwright:
                launch, chromium = playwright.chromium.launch, shutil.which("chromium")
                browser = launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page()
                page.goto(url)
                decided = -1
                while decided != self.effort.decisions:  # further piles come of decisions
                    decided = self.effort.decisions
                    page.wait_for_load_state("networkidle")  # the last ones are being sent
                    page.wait_for_timeout(1000 * SETTLE_S)
                    page.goto(urljoin(url, "/confirm"))
                    self.effort.machine += time.monotonic() - began
                    self._decide_piles(page)
                    began = time.monotonic()
                browser.close()
            server.send_signal(signal.SIGINT)
            if server.wait():
                raise FaceOpsError("faceops review failed")
        self.effort.machine += time.monotonic() - began
        return self.effort.decisions - before

    def _decide_piles(self, page: Page) -> None:
        labelled = self.album.labelled()
        if page.locator("ul.cards a.card").count() == 0:
            return
        self._press(page, "y")
        page.wait_for_selector(".face")
        while face := self._active(page):
            photo_id, _, index = face["key"].partition(".")
            row = labelled.get((photo_id, int(index)))
            person = self.album.name_of(row["photo_path"]) if row else ""
            self.effort.decisions += 1
            self.effort.looks += 1
            if self.draw.random() < ERRORS:
                self.effort.errors += 1
                self._press(page, "n" if person == face["pile"] else "y")
                if self.draw.random() < 0.5:
                    continue
                self.effort.undone += 1
                self._press(page, "u")
                face = self._active(page) or face
            self._decide(page, face, person)

    def _decide(self, page: Page, face: dict, person: str) -> None:
        """Press the keys that give the face its person."""
        if person == face["pile"]:
            self._press(page, "y")
        elif not person:
            self._press(page, "i")
            self._press(page, "1")
        elif person in face["others"]:
            self._press(page, str(face["others"].index(person) + 1))
        else:
            self._press(page, "e")
            for letter in person:
                self._press(page, letter)
            self._press(page, "Enter")

    def _press(self, page: Page, key: str) -> None:
        began = time.monotonic()
        page.keyboard.press(key)
        self.effort.keys += 1
        self.effort.machine += time.monotonic() - began

    def _active(self, page: Page) -> dict | None:
        """Return the face that the keys are for, once the page shows one; None at the end."""
        began = time.monotonic()
        if page.locator("#question").is_visible():  # whether a new person is somebody known
            page.locator("#question [value=yes]").click()
        found = page.evaluate(_ACTIVE)
        while found is None and time.monotonic() < began + 2:  # the next pile is being loaded
            page.wait_for_timeout(50)
            found = page.evaluate(_ACTIVE)
        self.effort.machine += time.monotonic() - began
        return found


_ACTIVE = """() => {
  const active = document.querySelector(".face[tabindex='0']");
  if (!active) return null;
  const others = [...document.querySelectorAll(".others button")];
  return {
    key: active.face.key,
    pile: document.querySelector("[data-shown]").textContent,
    others: others.map((one) => one.lastChild.textContent.replace(/\\s+\\d+\\s*%$/, "")),
  };
}"""


def main() -> None:
    """Make the album once, and let both reviewers correct a copy of it."""
    options = parser(__doc__)
    options.add_argument("--photos", type=Path, required=True, help="DIR/PERSON/PHOTO.jpg")
    options.add_argument("--out", type=Path, required=True, help="a new folder")
    options.add_argument("--all", action="store_true", help="go on after 99 percent are right")
    args = options.parse_args()
    start = Album(args.out / "start")
    if not (start.found / "summary.json").is_file():
        start.make(args.photos)
    aim = 1.0 if args.all else AIM
    print(HEADER)
    for name, kind in (("page", OnPage), ("commands", Commands)):
        album = Album(args.out / name)
        shutil.rmtree(album.folder, ignore_errors=True)
        shutil.copytree(start.folder, album.folder)
        album.identify()  # its photos lie elsewhere
        reviewer = kind(album, aim)
        reviewer.review()
        print(reviewer.effort.row(name), flush=True)


if __name__ == "__main__":
    run(main)
