"""The release that enrol and identify work with: `--bundle DIR`, or a registered one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceops.release.bundle import Bundle

CHAMPION = "models:/faceops@champion"


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and --model, of which one can be given."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", type=Path, metavar="DIR", help="a release bundle's folder")
    which.add_argument(
        "--model",
        default=CHAMPION,
        metavar="URI",
        help="a registered release (default: %(default)s)",
    )


def load_bundle(args: argparse.Namespace, threads: int = 1) -> "Bundle":
    """Load the release that the arguments name; `threads` is for each of its sessions.

    Raises:
        UsageError: --bundle names no folder, or --model no address of a release.
        FaceOpsError: the release is not there or is damaged.
    """
    from faceops.release.bundle import Bundle

    folder, name = bundle_folder(args)
    return Bundle.load(folder, threads=threads, name=name)


def bundle_folder(args: argparse.Namespace) -> tuple[Path, str]:
    """Return the local folder and the name of the release that the arguments name.

    Raises: as `load_bundle`.
    """
    from faceops.errors import UsageError

    if args.bundle is not None:
        if not args.bundle.is_dir():
            raise UsageError(f"{args.bundle} is not a folder; name a release bundle's folder.")
        return args.bundle, str(args.bundle)
    from faceops.release.registry.fetch_bundle import fetch_bundle

    return fetch_bundle(args.model), args.model
