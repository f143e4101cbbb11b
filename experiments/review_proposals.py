"""What do named faces of an album add to the names that the review page proposes for groups?

    python -m experiments.review_proposals --photos DIR --out OUT [--fewest N]

The album is that of experiments.review_session: DIR has a folder of photos for each person, 100
people with N photos or more are enrolled from one photo each. A simulated reviewer decides about
the piles by the labels, without errors. After so many decisions, a row each for the page before and
after links to named faces (`Links`) are used:

- groups of enrolled people: right, wrong and no name proposed; groups of others: a name proposed;
- faces without a name of enrolled people: the first proposal is right, which is their group's, or
  else their best candidate; and of how many faces the first proposal is another one by links.

The person of a group is the one of most of its faces. No record depends on what is proposed.
"""

import contextlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from experiments import parser, run
from experiments.review_session import FEWEST
from experiments.review_session import Album as Made
from faceops.base.reasons import UNKNOWN
from faceops.registry.published.assemble import load_published
from faceops.review.album import Album

DECISIONS = (0, 100, 300)
HEADER = (
    "| decisions | links | groups of enrolled: right, wrong, none | groups of others with a name | "
    f"unknown faces of enrolled | first proposal right | other by links |\n|{' --- |' * 7}"
)


def decide(page: Album, truth: dict[str, str], count: int) -> int:
    """Decide about at most so many faces of the piles by the labels; return about how many."""
    made = 0
    for pile in page.piles():
        for face in page.pile(pile.person, 0, pile.faces):
            if made == count:
                return made
            if name := truth.get(face.key):
                page.confirm([face.key], name)
            else:
                page.ignore([face.key])
            made += 1
    return made


def rows(page: Album, truth: dict[str, str], decisions: int) -> list[str]:
    """Return the rows of the table, before and with links."""
    album, groups = page.decided(), page.groups()
    asked = np.flatnonzero((album.faces.kind == UNKNOWN) & album.is_shown & (album.faces.best >= 0))
    keys = {album.key(row): album.people[album.faces.best[row]] for row in asked.tolist()}
    mine = {key: best for key, best in keys.items() if truth.get(key)}
    faces = {group.name: page.group(group.name, 0, group.faces) for group in groups}
    first, lines = {}, []
    for label in ("no", "yes"):
        found: Counter[str] = Counter()
        of_face = dict(mine)
        for group in groups:
            own = [face.key for face in faces[group.name] if face.key in truth]
            name = group.perhaps if group.chance or label == "yes" else ""
            of_face.update({key: name for key in own if key in mine and name})
            if own:
                person = Counter(truth[key] for key in own).most_common(1)[0][0]
                right = "right" if name == person else "wrong" if name else "none"
                found[right if person else "others" if name else "others, none"] += 1
        first[label] = of_face
        right_share = np.mean([of_face[key] == truth[key] for key in mine])
        others = f"{found['others']} of {found['others'] + found['others, none']}"
        changed = sum(of_face[key] != first["no"][key] for key in mine)
        known = ", ".join(str(found[one]) for one in ("right", "wrong", "none"))
        cells = (decisions, label, known, others, len(mine), f"{right_share:.1%}", changed)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def main() -> None:
    """Make the album once, and let the reviewer decide on a copy of it."""
    options = parser(__doc__)
    options.add_argument("--photos", type=Path, required=True, help="DIR/PERSON/PHOTO.jpg")
    options.add_argument("--out", type=Path, required=True, help="a new folder")
    options.add_argument("--fewest", type=int, default=FEWEST, help="photos of an enrolled person")
    args = options.parse_args()
    start, made = Made(args.out / "start"), Made(args.out / "proposals")
    if not (start.found / "summary.json").is_file():
        start.make(args.photos, args.fewest)
    shutil.rmtree(made.folder, ignore_errors=True)
    shutil.copytree(start.folder, made.folder)
    made.identify()  # its photos lie elsewhere
    truth = {
        f"{photo_id}.{index}": made.name_of(row["photo_path"])
        for (photo_id, index), row in made.labelled().items()
    }
    print(HEADER)
    with contextlib.closing(Album(made.found, made.gallery, load_published())) as page:
        decisions = 0
        for aim in DECISIONS:
            while decisions < aim and (more := decide(page, truth, aim - decisions)):
                decisions += more
                page.wait(600)  # further piles come of decisions
            page.wait(600)
            print("\n".join(rows(page, truth, decisions)), flush=True)


if __name__ == "__main__":
    run(main)
