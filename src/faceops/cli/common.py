"""What the commands share: arguments, the release to work with, and output as text or JSON."""

import argparse
import getpass
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import UsageError, printable
from faceops.base.files import read_json_object
from faceops.base.stores import is_url
from faceops.base.work import DEVICE_CHOICES, DeviceChoice
from faceops.cli.model_choice import CHAMPION, Choice, choose_model, import_registry, warning_of
from faceops.gallery.storage import GalleryPlace, gallery_place, storage_of
from faceops.photos import folders
from faceops.photos.formats import PhotoLimits
from faceops.registry import PUBLISHED, published_folder, published_statement
from faceops.release.release_file import RELEASE_FILE, precision_for, stated_contract

if TYPE_CHECKING:
    from faceops.gallery.store import Gallery
    from faceops.release.bundle import Bundle
    from faceops.release.release_file import Precision, PrecisionChoice

Run = Callable[[argparse.Namespace], int]
PARAMS = Path("params.yaml")
NO_FOLDER = "name a release bundle's folder"


def add_command(subparsers: Any, run: Run, **settings: Any) -> argparse.ArgumentParser:
    """Add the command that `run` carries out, under the name of that function, with --json.

    The first line of the function's docstring is the command's line in lists, the rest its
    description, unless the `settings` of argparse have another.
    """
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    texts = {"help": first[0].lower() + first[1:].removesuffix("."), "description": rest or None}
    parser: argparse.ArgumentParser = subparsers.add_parser(
        run.__name__.strip("_"), **texts | settings
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=run)
    return parser


def add_group(subparsers: Any, name: str, **texts: Any) -> Any:
    """Add a command that has subcommands, and return its subparsers."""
    parser = subparsers.add_parser(name, **texts)
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def add_folder(
    parser: Any, name: str, kind: folders.Kind, use: folders.Use = folders.Use.READ, **settings: Any
) -> None:
    """Add an argument that names a folder, or folders, to be checked before the command runs.

    `kind`: of what the folder holds.
    """
    read = gallery_place if kind is folders.GALLERY else Path
    settings = {"type": read} | ({"metavar": "DIR"} if name.startswith("-") else {}) | settings
    if settings.get("default"):
        settings["help"] = f"{settings.get('help', '')} (default: %(default)s)".lstrip()
    action = parser.add_argument(name, **settings)
    known = parser.get_default("folders") or ()
    parser.set_defaults(folders=(*known, (action.dest, kind, use)))


def check_folders(args: argparse.Namespace) -> None:
    """Check the folders that a command's arguments name, see `faceops.photos.folders`.

    Raises:
        UsageError: one of them is wrong.
    """
    named = []
    for name, kind, use in getattr(args, "folders", ()):
        given = getattr(args, name)
        paths = given if isinstance(given, list) else [given]
        # What a URL leads to is checked where it is used; a gallery may be in a database.
        local = [Path(path) for path in paths if path is not None and not is_url(str(path))]
        named += [folders.Folder(path, kind, use) for path in local]
    folders.check_folders(named)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads."""
    text = "threads (default: %(default)s)"
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help=text)


def add_exclude(parser: argparse.ArgumentParser) -> None:
    """Add --exclude."""
    text = (
        "skip files and folders that match, as in a .gitignore file; may be given several times. "
    )
    text += "Files named .faceopsignore in the folders hold such patterns too"
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help=text)


def skipped_line(skipped: Mapping[str, int]) -> list[str]:
    """Return the line that says what rules of exclusion skipped; none if nothing was."""
    rules = [f"{count} {rule}" for rule, count in sorted(skipped.items())]
    return [f"files and folders skipped: {', '.join(rules)}"] if rules else []


def add_photo_limits(parser: argparse.ArgumentParser) -> None:
    """Add --max-megapixels and --max-megabytes; see `photo_limits`."""
    for unit, default, what in (
        ("megapixels", PhotoLimits.max_pixels, "photos, JPEGs excepted, "),
        ("megabytes", PhotoLimits.max_bytes, "files "),
    ):
        text = f"larger {what}are not opened (default: {default // 10**6})"
        parser.add_argument(f"--max-{unit}", type=float, metavar="N", help=text)


def photo_limits(args: argparse.Namespace) -> PhotoLimits:
    """Return the limits of the arguments that `add_photo_limits` adds.

    Raises:
        UsageError: one is not a positive number.
    """
    given = {}
    for name, field in (("max_megapixels", "max_pixels"), ("max_megabytes", "max_bytes")):
        if (millions := getattr(args, name)) is None:
            continue
        if not 1e-6 <= millions <= 1e9:
            raise UsageError(f"{name} {millions:g} is wrong: give a positive number, e.g. 400.")
        given[field] = int(millions * 1e6)
    return PhotoLimits(**given)


def add_by(parser: argparse.ArgumentParser) -> None:
    """Add --by; see `decided_by`."""
    text = "who decides, noted in the journal of decisions (default: this user's name; '' for none)"
    parser.add_argument("--by", metavar="NAME", help=text)


def decided_by(args: argparse.Namespace) -> str:
    """Return who decides: --by, else the name of the user who runs the command, "" if unknown."""
    if args.by is not None:
        return str(args.by).strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container the user may have no name
        return ""


def positive(text: str) -> int:
    """Return the number that an argument gives, refused if it is below one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --bundle and --model, of which one can be given, --precision and --device."""
    which = parser.add_mutually_exclusive_group()
    add_folder(which, "--bundle", folders.BUNDLE, help="a release bundle's folder")
    text = f"{PUBLISHED}, or a registered release: {CHAMPION}, models:/faceops/3 (default: that of "
    text += "the gallery, else the champion if it was calibrated on real photos, else published)"
    which.add_argument("--model", metavar="RELEASE", help=text)
    add_precision_argument(parser, "auto")
    add_device_argument(parser)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add --device, which finds and embeds faces."""
    text = "finds and embeds faces; cuda needs onnxruntime-gpu in the place of onnxruntime, and "
    text += "auto takes it where it can be used (default: %(default)s)"
    parser.add_argument("--device", choices=DEVICE_CHOICES, default="auto", help=text)


def add_precision_argument(parser: argparse.ArgumentParser, default: str = "float32") -> None:
    """Add --precision, the embedder's; auto is offered where it is the default."""
    auto = "auto that of the gallery, and for a new one the faster on this machine; "
    parser.add_argument(
        "--precision",
        choices=("float32", "int8", *{default} - {"float32"}),
        default=default,
        help="the release's embedder: int8 is faster and less exact, offered by releases where it "
        f"is good enough; {auto if default == 'auto' else ''}"
        "galleries of the two are not comparable, `faceops people reembed` brings "
        "one under the other (default: %(default)s)",
    )


def choose_precision(
    choice: "PrecisionChoice",
    bundle: Path,
    gallery: GalleryPlace | None,
    device: DeviceChoice = "cpu",
) -> tuple["Precision", str]:
    """Return the precision that `choice` means for the release in the folder `bundle`, and why.

    With auto a `gallery` keeps the embedder that it was enrolled with, as the two are not
    comparable; a new one gets int8 where the release offers it and it is clearly faster on the CPU,
    and `device` allows no GPU: only then there is a sentence, else "".

    Raises:
        FaceOpsError: for a new gallery, as `int8_gain`.
    """
    if choice != "auto":
        return choice, ""
    try:
        content = read_json_object(bundle / RELEASE_FILE)
    except (OSError, ValueError):  # loading it says what is wrong
        content = {}
    contract_id = storage_of(gallery).contract_id() if gallery else ""
    if contract_id or gallery is None or not content.get("int8"):
        return precision_for(content, choice, contract_id), ""
    from faceops.faces.inference_session import may_use_cuda
    from faceops.release.bundle import LEAST_GAIN, int8_gain

    if may_use_cuda(device):
        return "float32", ""
    if (gain := int8_gain(bundle)) < LEAST_GAIN:
        return "float32", ""
    return "int8", (
        f"the new gallery is embedded in int8, {gain:.1f} times as fast as float32 here; "
        "--precision float32 is the exact one"
    )


def load_bundle(
    args: argparse.Namespace, gallery: "Gallery | None" = None, threads: int = 1
) -> "Bundle":
    """Load the release that the arguments name, else the one that suits `gallery`.

    The choice is printed to stderr, once a command.

    Raises: as `load_release`; FaceOpsError: the published release is not that of `gallery`.
    """
    choice = _choose(args, gallery.contract_id if gallery else "")
    if gallery is not None and choice.model == PUBLISHED:  # before its weights are fetched
        content = published_statement()
        precision = precision_for(content, args.precision, gallery.contract_id)
        if stated := stated_contract(content, precision):  # else `load_release` refuses it
            gallery.require(stated)
    _print_choice(args, choice)
    folder = getattr(args, "gallery", None)
    return load_release(args.bundle, choice.model, threads, args.precision, folder, args.device)


def _choose(args: argparse.Namespace, contract_id: str) -> Choice:
    """Return --model, "" where there is --bundle; chosen for the gallery where there is neither."""
    if args.bundle is not None or args.model is not None:
        return Choice(args.model or "", "")
    made: dict[str, Choice] = vars(args).setdefault("choices", {})  # the registry is asked once
    if contract_id not in made:
        made[contract_id] = choose_model(contract_id, args.precision, Path.cwd())
    return made[contract_id]


def _print_choice(args: argparse.Namespace, choice: Choice) -> None:
    """Print which release was chosen and why, once a command; not to stdout, which may be JSON."""
    if choice.why and getattr(args, "said", None) != choice:
        print(escaped(f"faceops {args.command}: {choice}"), file=sys.stderr)
    args.said = choice


def load_release(
    bundle: Path | None,
    model: str,
    threads: int = 1,
    precision: "PrecisionChoice" = "float32",
    gallery: GalleryPlace | None = None,
    device: DeviceChoice = "cpu",
) -> "Bundle":
    """Load the release in the folder `bundle`, else the one at the address `model`.

    `model` is that of a registered release, or `published`. `threads` is for each of its sessions,
    `precision` that of its embedder, for `gallery`, see `choose_precision`; `device` is that of
    `Bundle.load`. A release of synthetic people has a warning in its note.

    Raises:
        UsageError: `bundle` is not a folder, `model` is not the address of a release, or the device
            cannot be used.
        FaceOpsError: the release does not exist or is damaged.
    """
    from faceops.release.bundle import Bundle

    def load(folder: Path, name: str | None = None, note: str = "") -> "Bundle":
        chosen, why = choose_precision(precision, folder, gallery, device)
        note = "; ".join(filter(None, (note, why)))
        return Bundle.load(folder, threads, name, note, chosen, device=device)

    if bundle is not None:
        require_folder(bundle, NO_FOLDER)
        loaded = load(bundle)
    elif model == PUBLISHED:
        from faceops.registry.published import load_published

        own = storage_of(gallery).contract_id() if gallery else ""
        chosen = precision_for(published_statement(), precision, own)
        return load_published(threads, chosen, device)
    else:
        loaded = import_registry(model).load_fetched(
            model, lambda it: load(it.folder, it.name, it.note)
        )
    return replace(loaded, note=_with_warning(loaded.folder, loaded.name, loaded.note))


def bundle_folder(args: argparse.Namespace, contract_id: str) -> tuple[Path, str, str]:
    """Return folder, name and note (see `Bundle`) of the release that `load_bundle` loads.

    The folder of the published release may not exist yet.

    Raises: as `load_release`.
    """
    choice = _choose(args, contract_id)
    _print_choice(args, choice)
    if args.bundle is not None:
        require_folder(args.bundle, NO_FOLDER)
        folder, name, note = args.bundle, str(args.bundle), ""
    elif choice.model == PUBLISHED:
        return published_folder(), PUBLISHED, ""
    else:
        found = import_registry(choice.model).find_release(choice.model)
        folder, name, note = found.folder, found.name, found.note
    return folder, name, _with_warning(folder, name, note)


def _with_warning(folder: Path, name: str, note: str) -> str:
    return "; ".join(filter(None, (note, warning_of(folder, name))))


def require_folder(folder: Path, advice: str) -> None:
    """Check that `folder` exists.

    Raises:
        UsageError: it does not; `advice` says what to do.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; {advice}.")


def escaped(text: str) -> str:
    """Return `text` with escapes for the control characters that names in it may have."""
    return "\n".join(map(printable, text.split("\n")))


def show(args: argparse.Namespace, content: Any, lines: Sequence[str] | str) -> int:
    """Print `content` as JSON with --json, else the lines; return the exit code 0."""
    if args.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(escaped(lines if isinstance(lines, str) else "\n".join(lines)))
    return 0
