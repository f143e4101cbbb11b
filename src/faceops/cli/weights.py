"""`faceops weights`: list, fetch and locate the outside weights."""

import argparse
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.cli.common import add_command, add_group, show


def add_parser(subparsers: Any) -> None:
    """Add `faceops weights` with its actions."""
    actions = add_group(
        subparsers,
        "weights",
        help="list and fetch the outside weights, with their licences",
        description="The outside weights of weights.toml. FACEOPS_WEIGHTS names a folder of your "
        "own with such files; fetched ones are kept in FACEOPS_CACHE (default: ~/.cache/faceops).",
    )
    text = "a weight, as `list` names it"
    add_command(actions, _list)
    add_command(actions, _fetch).add_argument("names", nargs="*", metavar="NAME", help=text)
    add_command(actions, _path).add_argument("name", metavar="NAME", help=text)


def _list(args: argparse.Namespace) -> int:
    """Name, licence, terms, and the path of its file."""
    rows = _rows()
    lines = []
    for row in rows:
        lines += [
            f"{row['name']}: {row['what']} ({row['size'] / 1e6:.1f} MB)",
            f"  licence: {row['licence']}",
            f"  terms:   {row['terms']}",
            f"  found:   {row['found']}{' ' + row['path'] if row['path'] else ''}",
        ]
        if "error" in row:
            lines.append(f"  error:   {row['error']}")
    show(args, rows, lines)
    # A file has the name of a weight, but another sha256.
    return 1 if any("error" in row for row in rows) else 0


def _rows() -> list[dict[str, Any]]:
    from faceops.weights.catalogue import read_catalogue
    from faceops.weights.fetch import find_local, weights_cache, weights_folder

    folder, cache = weights_folder(), weights_cache()
    rows = []
    for weight in read_catalogue().values():
        row = weight.model_dump()
        try:
            found = find_local(weight, folder, cache)
            row["found"] = found.place if found else "not yet fetched"
            row["path"] = str(found.path) if found else None
        except FaceOpsError as error:
            row |= {"found": "refused", "path": None, "error": str(error)}
        rows.append(row)
    return rows


def _fetch(args: argparse.Namespace) -> int:
    """Bring weights onto this machine (default: all)."""
    from faceops.weights.catalogue import find_entry, read_catalogue
    from faceops.weights.fetch import weight_path

    catalogue = read_catalogue()
    names = args.names or list(catalogue)
    for name in names:
        find_entry(name, catalogue)  # refuse a misspelt name before anything is fetched
    paths = {name: str(weight_path(name)) for name in names}
    return show(args, paths, [f"{name}: {path}" for name, path in paths.items()])


def _path(args: argparse.Namespace) -> int:
    """Print the path of one weight, fetched if need be."""
    from faceops.weights.fetch import weight_path

    path = str(weight_path(args.name))
    return show(args, {args.name: path}, path)
