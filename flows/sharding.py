"""How a run is cut into shards; not in on_dask.py, whose classes reach other processes by value."""

from dataclasses import dataclass

from prefect.settings import PREFECT_API_URL

from faceops.base.errors import UsageError

SHARD_PHOTOS = 512


@dataclass(frozen=True)
class Sharding:
    """How photos are cut into shards, and where these are worked on.

    Attributes:
        photos: of a shard.
        dask: address of a Dask scheduler; "" for threads of this process.
        shared: with `dask`, a folder or URL under which every machine reaches the same place.
    """

    photos: int = SHARD_PHOTOS
    dask: str = ""
    shared: str = ""

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
