"""`faceops weights`: list, fetch and locate the outside weights."""

import argparse
import json
from typing import Any


def _rows() -> list[dict[str, Any]]:
    from faceops.base.errors import FaceOpsError
    from faceops.weights.catalogue import read_catalogue
    from faceops.weights.fetch import find_at_hand, weights_cache, weights_folder

    folder, cache = weights_folder(), weights_cache()
    rows = []
    for weight in read_catalogue().values():
        row = weight.model_dump()
        try:
            found = find_at_hand(weight, folder, cache)
            row["found"] = found.place if found else "not yet fetched"
            row["path"] = str(found.path) if found else None
        except FaceOpsError as error:
            row |= {"found": "refused", "path": None, "error": str(error)}
        rows.append(row)
    return rows


def run_list(args: argparse.Namespace) -> int:
    """Print each weight's licence, terms and place; 1 when a file under its name is wrong."""
    rows = _rows()
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['name']}: {row['what']} ({row['size'] / 1e6:.1f} MB)")
            print(f"  licence: {row['licence']}")
            print(f"  terms:   {row['terms']}")
            print(f"  found:   {row['found']}{' ' + row['path'] if row['path'] else ''}")
            if "error" in row:
                print(f"  error:   {row['error']}")
    return 1 if any("error" in row for row in rows) else 0


def run_fetch(args: argparse.Namespace) -> int:
    """Bring the named weights (default: all) onto this machine and print where they lie."""
    from faceops.weights.catalogue import find_entry, read_catalogue
    from faceops.weights.fetch import weight_path

    catalogue = read_catalogue()
    names = args.names or list(catalogue)
    for name in names:
        find_entry(name, catalogue)  # a misspelt name is told before anything is fetched
    paths = {name: str(weight_path(name)) for name in names}
    if args.json:
        print(json.dumps(paths, indent=2))
    else:
        for name, path in paths.items():
            print(f"{name}: {path}")
    return 0


def run_path(args: argparse.Namespace) -> int:
    """Print the verified path of one weight, fetched if need be."""
    from faceops.weights.fetch import weight_path

    path = str(weight_path(args.name))
    print(json.dumps({args.name: path}) if args.json else path)
    return 0


def add_parser(subparsers: Any) -> None:
    """Add `faceops weights` with its subcommands."""
    parser = subparsers.add_parser(
        "weights",
        help="list and fetch the outside weights, with their licences",
        description="The outside weights of weights.toml. FACEOPS_WEIGHTS names a folder of your "
        "own with such files; fetched ones are kept in FACEOPS_CACHE (default: ~/.cache/faceops).",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="name, licence, terms, and where it was found")
    listing.set_defaults(run=run_list)
    fetching = actions.add_parser("fetch", help="bring weights onto this machine (default: all)")
    fetching.add_argument("names", nargs="*", metavar="NAME", help="a weight, as `list` names it")
    fetching.set_defaults(run=run_fetch)
    locating = actions.add_parser("path", help="print the path of one weight, fetched if need be")
    locating.add_argument("name", metavar="NAME", help="a weight, as `list` names it")
    locating.set_defaults(run=run_path)
    for action in (listing, fetching, locating):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
