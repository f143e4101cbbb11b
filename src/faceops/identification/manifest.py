"""The manifest of a run: which files it wrote, and the sha256 by which each can be checked."""

import json
from pathlib import Path
from typing import Any

import faceops
from faceops.base.files import sha256_file, write_file
from faceops.identification.output_folder import ANNOTATED
from faceops.identification.summary import Summary

MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path, about: dict[str, str], drawings: Path | None = None) -> None:
    """Write `folder`/manifest.json over all other files below it, replaced at once.

    Args:
        drawings: drawn copies of a run that has a manifest. Of those that are the same file in
            `folder` too, the sha256 is taken from there: all of them are gigabytes to read.
    """
    known = stated_drawings(drawings.parent) if drawings else {}
    files = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == MANIFEST_FILE or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        entry = known.get(name)
        if entry is None or not drawings or not _is_same(path, drawings.parent / name, entry):
            entry = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        files[name] = entry
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    write_file(folder / MANIFEST_FILE, text)


def stated_drawings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the manifest of a run says of its drawn copies; nothing if there is none."""
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))["files"]
        return {name: files[name] for name in files if name.startswith(f"{ANNOTATED}/")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_same(path: Path, earlier: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.samefile(earlier) and path.stat().st_size == entry["bytes"]
    except OSError:
        return False


def about_run(summary: Summary) -> dict[str, str]:
    """Return what a manifest says of its run."""
    return {
        "run_id": summary.run_id,
        "faceops": faceops.__version__,
        "release": summary.release,
        "release_note": summary.release_note,
        "contract_id": summary.contract_id,
    }


def renew_manifest(folder: Path) -> None:
    """Write the manifest of `folder` anew, if it has one, after its files were changed."""
    path = folder / MANIFEST_FILE
    if path.is_file():
        content = json.loads(path.read_text("utf-8"))
        about = {key: value for key, value in content.items() if key != "files"}
        write_manifest(folder, about, drawings=folder / ANNOTATED)
