"""What the page's script reads: every face as text, and the pictures of those not in front."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from faceops.identification.report.shown_face import Group
from faceops.identification.unknown_numbers import FaceKey

ID = "faces"
_BLOCK = re.compile(rf'<script type="application/json" id="{ID}">(.*?)</script>', re.DOTALL)


def faces_block(
    root: Path, groups: Sequence[Group], links: Mapping[str, str], people: Iterable[str]
) -> str:
    """Return the JSON of all faces, group by group: photo, what is said of it, and its link.

    The link is left out where it follows from `root` and the photo's path. `people` is everybody
    whom the page names or guesses, so that a page that names somebody can be told.
    """
    listed = [
        {
            "name": group.name,
            "count": group.count,
            "faces": [
                [face.photo, face.caption, *([links[face.photo]] if face.photo in links else [])]
                for face in group.faces
            ],
        }
        for group in groups
    ]
    return _script_json({"people": sorted(people), "root": root.as_uri(), "groups": listed})


def pictures_block(groups: Sequence[Group], pictures: Mapping[FaceKey, str]) -> str:
    """Return the JSON of the pictures that stand in no front, by "group:face"."""
    return _script_json(
        {
            f"{number}:{place}": pictures[key]
            for number, group in enumerate(groups)
            for place in group.pictured[len(group.front) :]
            if (key := group.faces[place].key) is not None and key in pictures
        }
    )


def people_on(page: Path) -> list[str]:
    """Return everybody whom a page names or guesses; nobody where there is no page."""
    if not page.is_file():
        return []
    block = _BLOCK.search(page.read_text("utf-8"))
    return list(json.loads(block[1])["people"]) if block else []


def _script_json(content: object) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
