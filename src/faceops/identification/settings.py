"""The settings of an identification run, and the checks of its folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import UsageError, printable
from faceops.base.stores import is_url
from faceops.base.work import DeviceChoice
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.identification.records.output_folder import KEEP_RUNS
from faceops.photos.folders import GALLERY, PHOTOS, RESULTS, Folder, Use, check_folders
from faceops.photos.formats import PhotoLimits
from faceops.release.release_file import PrecisionChoice

DETAIL = 1280  # longest side, pixels, at which large photos are searched in tiles
MAX_DETAIL = 20_000  # pixels
MAX_THREADS = 256


@dataclass(frozen=True)
class FacePolicy:
    """The minimum size and quality of a face.

    Attributes:
        min_size: shorter side of its box, pixels.
        min_quality: overall quality, 0 to 1.
    """

    min_size: float
    min_quality: float


IDENTIFICATION = FacePolicy(min_size=20, min_quality=0.1)


@dataclass(frozen=True)
class IdentifySettings:
    """How a run finds and names faces, and what it keeps.

    Attributes:
        budget: largest share of strangers that may be given a name, between 0 and 1; None for the
            release's default.
        annotate: also draw boxes and names on copies of the photos with faces.
        xmp: also write face regions and names into sidecars beside the photos.
        detail: longest side in pixels at which photos larger than the detector's input are also
            searched in tiles, for small faces; 0 searches photos as a whole only.
        precision: of the release's embedder; the gallery must have the same. A run replaces it by
            that of the loaded release.
        device: that finds and embeds faces. It does not decide the rows: what one device found in a
            photo is not done again on another.
        keep_crops: store the aligned faces of opened photos, so that another release with the same
            alignment can embed them without the photos.
        keep_runs: number of runs to keep in the output folder, including this one.
        max_failed_share: largest share of the photos, 0 to 1, that may fail for a reason outside
            their bytes (memory, disk, share, permission): more end the run, and the earlier results
            stay. In small folders a few may fail, see `allowed_failures`.
        allow_empty: accept that all photos that an earlier run saw are gone.
        recheck: read every photo and compare its sha256, also where the file looks unchanged.
        threads: number of threads that open photos and find faces; None for one per CPU, at most 8.
        policy: which faces are good enough to be named.
        limits: which photos are opened.
        exclude: gitignore patterns of files and folders to skip, beside .faceopsignore files.

    Raises:
        UsageError: a value is out of its range.
    """

    budget: float | None = None
    annotate: bool = False
    xmp: bool = False
    detail: int = DETAIL
    precision: PrecisionChoice = "float32"
    device: DeviceChoice = "auto"
    keep_crops: bool = False
    keep_runs: int = KEEP_RUNS
    max_failed_share: float = 0.1
    allow_empty: bool = False
    recheck: bool = False
    threads: int | None = None
    policy: FacePolicy = IDENTIFICATION
    limits: PhotoLimits = PhotoLimits()  # noqa: RUF009  frozen
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.budget is not None and not 0 < self.budget < 1:
            raise UsageError(
                f"budget {self.budget:g} is wrong: give a share of strangers between 0 and 1, "
                "e.g. 0.01."
            )
        if not 0 <= self.max_failed_share <= 1:
            raise UsageError(
                f"max_failed_share {self.max_failed_share:g} is wrong: give a share from 0 to 1."
            )
        if not 0 <= self.detail <= MAX_DETAIL:
            raise UsageError(
                f"detail {self.detail} is wrong: give pixels from 0 to {MAX_DETAIL}, e.g. 1920."
            )
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UsageError(f"threads {self.threads} is wrong: give 1 to {MAX_THREADS}.")
        if self.keep_runs < 1:
            raise UsageError(f"keep_runs {self.keep_runs} is wrong: give 1 or more.")

    def deciding(self) -> str:
        """Return the settings that decide a run's rows, as text for a digest."""
        rows = (self.budget, self.annotate, self.xmp, self.detail, self.precision)
        return str((*rows, self.policy, self.limits))


def require_photos(photos_dir: Path) -> None:
    """Raise a UsageError if the folder or photo does not exist."""
    if not is_url(photos_dir) and not photos_dir.exists():
        raise UsageError(
            f"{printable(photos_dir)} does not exist; name a folder of photos, or one photo."
        )


def check_identify_folders(photos_dir: Path, out: Path, gallery: GalleryPlace) -> None:
    """Refuse wrong folders of a run, see `check_folders`.

    Raises:
        UsageError: there are no photos, or a folder holds something else than it is named for.
    """
    require_photos(photos_dir)
    folders = [] if is_url(photos_dir) else [Folder(photos_dir, PHOTOS)]
    if (folder := storage_of(gallery).folder) is not None:
        folders.append(Folder(folder, GALLERY, Use.WRITE))
    check_folders([*folders, Folder(out, RESULTS, Use.WRITE)])
