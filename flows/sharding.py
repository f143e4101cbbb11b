"""How a run is cut into shards; not in on_dask.py, whose classes reach other processes by value."""

from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_API_URL

from faceops.base.errors import UsageError
from faceops.base.stores import place
from faceops.identification.records.output_folder import results_folder
from faceops.photos.folders import RESULTS, Folder, Use, check_folders

SHARD_PHOTOS = 512


@dataclass(frozen=True)
class Sharding:
    """How photos are cut into shards, and where these are worked on and collected.

    Attributes:
        photos: of a shard.
        dask: address of a Dask scheduler; "" for threads of this process.
        shared: with `dask`, a folder or URL under which every machine reaches the same place.
        state: where `out` is a URL, the driver's folder of state and results; "" for one in the
            cache.
    """

    photos: int = SHARD_PHOTOS
    dask: str = ""
    shared: str = ""
    state: str = ""

    def results(self, out: str, photos: Path) -> Path:
        """Return the driver's folder for results into `out`.

        Raises:
            UsageError: `state` holds something else; and as `results_folder`, with its errors.
        """
        state = Path(self.state) if self.state else None
        if state is not None:
            check_folders([Folder(state, RESULTS, Use.WRITE)])
        return results_folder(place(out), photos, state)

    def require(self) -> None:
        """Check the values; raises UsageError if one is wrong."""
        if self.photos < 1:
            raise UsageError(f"{self.photos} photos a shard are too few; give 1 or more.")
        if bool(self.dask) != bool(self.shared):
            raise UsageError(
                "--dask and --shared go together: --dask tcp://SCHEDULER:8786 --shared DIR_OR_URL."
            )
        if self.dask and not PREFECT_API_URL.value():
            raise UsageError(
                "--dask needs a Prefect server that the workers reach: run `prefect server start` "
                "and set PREFECT_API_URL to its address."
            )
