"""The manifest of a run: which files it wrote, and the sha256 by which each can be checked."""

import json
from pathlib import Path

import faceops
from faceops.dataset.write_whole import write_whole
from faceops.identification.summary import Summary
from faceops.photos.content_hash import sha256_file

MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path, about: dict[str, str]) -> None:
    """Write `folder`/manifest.json over all other files below it, replaced at once."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE and not path.name.startswith(".")
    }
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    write_whole(folder / MANIFEST_FILE, text.encode())


def about_run(summary: Summary) -> dict[str, str]:
    """Return what a manifest says of its run."""
    return {
        "run_id": summary.run_id,
        "faceops": faceops.__version__,
        "release": summary.release,
        "contract_id": summary.contract_id,
    }


def renew_manifest(folder: Path) -> None:
    """Write the manifest of `folder` anew, if it has one, after its files were changed."""
    path = folder / MANIFEST_FILE
    if path.is_file():
        content = json.loads(path.read_text("utf-8"))
        write_manifest(folder, {key: value for key, value in content.items() if key != "files"})
