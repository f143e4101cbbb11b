"""The release that a command works with: the one that its arguments name, else a rule chooses.

Without --model and --bundle it is the published release, or the champion of the registry:

1. A gallery keeps the release that it was enrolled under, where that is one of the two. Where both
   have its embedder, it is the champion, unless that was calibrated on synthetic people.
2. Else the champion, if it was calibrated on photos of real people.
3. Else the published release.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from faceops import registry
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import read_json_object
from faceops.base.work import DEVICE_CHOICES, DeviceChoice
from faceops.cli import NO_FOLDER, add_folder, escaped, require_folder
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.photos import folders
from faceops.registry import PUBLISHED, NoReleaseError
from faceops.release import release_file

if TYPE_CHECKING:
    from faceops.gallery.store import Gallery
    from faceops.registry.fetch import FetchedRelease
    from faceops.release.bundle import Bundle

CHAMPION = "models:/faceops@champion"


@dataclass(frozen=True)
class Choice:
    """A release: its address, and why it was chosen; `why` is "" if an argument named it."""

    model: str
    why: str

    def __str__(self) -> str:
        published = "the published release (SFace and dlib, calibrated on LFW)"
        return f"using {published if self.model == PUBLISHED else self.model}: {self.why}"


def choose_model(contract_id: str, precision: release_file.PrecisionChoice, root: Path) -> Choice:
    """Return the release for a gallery under `contract_id`; "" for none. See above.

    MLflow is imported only if there is a registry to ask.

    `root`: the folder of the local MLflow store if no server is set.

    Raises FaceOpsError: the registry does not answer, and the cache has no champion of it.
    """
    is_of_published = release_file.is_of(registry.published_statement(), precision, contract_id)
    published = Choice(PUBLISHED, "the gallery was enrolled under it") if is_of_published else None
    if not registry.has_store(root):
        why = f"there is no registry (MLFLOW_TRACKING_URI is not set, {root} has no mlflow.db)"
        return published or Choice(PUBLISHED, why)
    try:
        found: FetchedRelease = import_registry(CHAMPION).find_release(CHAMPION, root)
        content = read_json_object(found.folder / release_file.RELEASE_FILE)
    except NoReleaseError as error:
        return published or Choice(PUBLISHED, str(error).partition(";")[0])
    except FaceOpsError:
        if published is None:
            raise
        return published
    except (OSError, ValueError):  # loading it says what is wrong
        return published or Choice(CHAMPION, "it is the registry's champion")
    data = content.get("data") or {}
    is_of_champion = release_file.is_of(content, precision, contract_id)
    if published is not None and (release_file.is_synthetic(data) or not is_of_champion):
        return published
    if is_of_champion:
        return Choice(CHAMPION, f"the gallery was enrolled under {found.name}")
    if release_file.is_synthetic(data):
        return Choice(PUBLISHED, f"the champion, {found.name}, was calibrated on synthetic people")
    sources = ", ".join(sorted(data.get("sources") or {})) or "photos of real people"
    return Choice(CHAMPION, f"{found.name} was calibrated on {sources}")


def import_registry(model: str) -> ModuleType:
    """Import the registry, which needs MLflow, to find `model`.

    Raises UsageError where it is not installed and `model` is no address of a release; else
    NoReleaseError.
    """
    try:
        from faceops.registry import fetch
    except ModuleNotFoundError:
        if not model.startswith("models:/"):
            raise UsageError(
                f"{model!r} names no release; write {CHAMPION} or {PUBLISHED}."
            ) from None
        raise NoReleaseError(
            f"{model} needs MLflow, which is not installed; pip install 'faceops[rebuild]', or give"
            f" --model {PUBLISHED} or --bundle DIR."
        ) from None
    return fetch


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
    choice: release_file.PrecisionChoice,
    bundle: Path,
    gallery: GalleryPlace | None,
    device: DeviceChoice = "cpu",
) -> tuple[release_file.Precision, str]:
    """Return the precision that `choice` means for the release in the folder `bundle`, and why.

    With auto a `gallery` keeps the embedder that it was enrolled with, as the two are not
    comparable; a new one gets int8 where the release offers it and it is clearly faster on the CPU,
    and `device` allows no GPU: only then there is a sentence, else "".

    Raises FaceOpsError: for a new gallery, as `int8_gain`.
    """
    if choice != "auto":
        return choice, ""
    try:
        content = read_json_object(bundle / release_file.RELEASE_FILE)
    except (OSError, ValueError):  # loading it says what is wrong
        content = {}
    contract_id = storage_of(gallery).contract_id() if gallery else ""
    if contract_id or gallery is None or not content.get("int8"):
        return release_file.precision_for(content, choice, contract_id), ""
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
        content = registry.published_statement()
        precision = release_file.precision_for(content, args.precision, gallery.contract_id)
        stated = release_file.stated_contract(content, precision)
        if stated:  # else `load_release` refuses it
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
    precision: release_file.PrecisionChoice = "float32",
    gallery: GalleryPlace | None = None,
    device: DeviceChoice = "cpu",
) -> "Bundle":
    """Load the release in the folder `bundle`, else the one at the address `model`.

    `model` is that of a registered release, or `published`. `threads` is for each of its sessions,
    `precision` that of its embedder, for `gallery`, see `choose_precision`; `device` is that of
    `Bundle.load`. A release of synthetic people has a warning in its note.

    Raises UsageError: `bundle` is not a folder, `model` is not the address of a release, or the
    device cannot be used; FaceOpsError: the release does not exist or is damaged.
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
        chosen = release_file.precision_for(registry.published_statement(), precision, own)
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
        return registry.published_folder(), PUBLISHED, ""
    else:
        found = import_registry(choice.model).find_release(choice.model)
        folder, name, note = found.folder, found.name, found.note
    return folder, name, _with_warning(folder, name, note)


def _with_warning(folder: Path, name: str, note: str) -> str:
    """Return the note of a release, with a warning if it was made of synthetic people."""
    try:
        content = read_json_object(folder / release_file.RELEASE_FILE)
    except (OSError, ValueError):  # loading the release says what is wrong
        return note
    if not release_file.is_synthetic(content.get("data")):
        return note
    warning = f"{name} was calibrated on synthetic people: for photos of real people its budgets "
    warning += f"promise nothing, use --model {PUBLISHED}"
    return f"{note}; {warning}" if note else warning
