"""The release that a command works with: `--bundle DIR`, or a registered one."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from faceops.base.errors import FaceOpsError
from faceops.cli.common import require_folder

if TYPE_CHECKING:
    from faceops.release.bundle import Bundle
    from faceops.release.contract import Precision

CHAMPION = "models:/faceops@champion"
NO_FOLDER = "name a release bundle's folder"


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and --model, of which one can be given, and --precision."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", type=Path, metavar="DIR", help="a release bundle's folder")
    which.add_argument(
        "--model",
        default=CHAMPION,
        metavar="URI",
        help="a registered release (default: %(default)s)",
    )
    add_precision_argument(parser)


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add --precision, the embedder's."""
    parser.add_argument(
        "--precision",
        choices=("float32", "int8"),
        default="float32",
        help="the release's embedder: int8 is faster and less exact, offered by releases where it "
        "is good enough; galleries of the two are not comparable, `faceops people reembed` brings "
        "one under the other (default: %(default)s)",
    )


def load_bundle(args: argparse.Namespace, threads: int = 1) -> "Bundle":
    """Load the release that the arguments name; `threads` is for each of its sessions.

    Raises:
        UsageError: --bundle names no folder, or --model is not the address of a release.
        FaceOpsError: the release does not exist or is damaged.
    """
    return load_release(args.bundle, args.model, threads, args.precision)


def load_release(
    bundle: Path | None, model: str, threads: int = 1, precision: "Precision" = "float32"
) -> "Bundle":
    """Load the release in the folder `bundle`, else the registered one at the address `model`.

    `precision` is that of its embedder.

    Raises: as `load_bundle`.
    """
    from faceops.release.bundle import Bundle

    if bundle is not None:
        require_folder(bundle, NO_FOLDER)
        return Bundle.load(bundle, threads=threads, precision=precision)
    loaded: Bundle = _registry(model).load_fetched(
        model,
        lambda it: Bundle.load(
            it.folder, threads=threads, name=it.name, note=it.note, precision=precision
        ),
    )
    return loaded


def bundle_folder(args: argparse.Namespace) -> tuple[Path, str, str]:
    """Return folder, name and note (see `Bundle`) of the release that the arguments name.

    Raises: as `load_bundle`.
    """
    if args.bundle is not None:
        require_folder(args.bundle, NO_FOLDER)
        return args.bundle, str(args.bundle), ""
    found = _registry(args.model).find_release(args.model)
    return found.folder, found.name, found.note


def _registry(model: str) -> ModuleType:
    """Import the registry, which needs MLflow."""
    try:
        from faceops.registry import fetch
    except ModuleNotFoundError:
        raise FaceOpsError(
            f"{model} needs MLflow, which is not installed; install faceops[rebuild] or give"
            " --bundle DIR."
        ) from None
    return fetch
