"""The latest run into an output folder: its summary, its photos, and the settings to repeat it."""

from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import is_url
from faceops.gallery.names import paths_shown_as
from faceops.identification.records.mirror import refuse_copies
from faceops.identification.records.output_folder import SUMMARY_FILE
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary, read_summary

_SETTINGS = (
    *("budget", "detail", "precision", "annotate", "xmp"),
    *("keep_crops", "keep_runs", "limits", "exclude"),
)


@dataclass(frozen=True, eq=False)
class LatestRun:
    """A finished run.

    Attributes:
        photos: the folder of photos, or the one photo, that it was given.
    """

    summary: Summary
    photos: Path

    @property
    def root(self) -> Path:
        """The folder below which the paths of its records lie."""
        is_folder = is_url(self.photos) or self.photos.is_dir()
        return self.photos if is_folder else self.photos.parent

    def settings(self, threads: int | None = None) -> IdentifySettings:
        """Return the settings with which the next run decides as this one did."""
        return IdentifySettings(
            **{name: getattr(self.summary, name) for name in _SETTINGS}, threads=threads
        )


def latest_run(out: Path) -> LatestRun:
    """Return the run whose results are in `out`.

    Raises:
        UsageError: there are no results, or they are a copy in a store.
        FaceOpsError: their summary is damaged, or another version's.
    """
    refuse_copies([out])
    try:
        summary = read_summary(out)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{out} holds no results; name the folder that faceops identify wrote to."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{out / SUMMARY_FILE} cannot be used ({error}); run faceops identify into {out} again."
        ) from None
    folder = summary.photos_folder
    found = paths_shown_as(Path("/"), folder.lstrip("/"))
    return LatestRun(summary, next(iter(found), Path(folder)))
