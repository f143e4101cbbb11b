"""Where a gallery is kept: in a folder, or in a PostgreSQL database that machines share."""

from pathlib import Path

from faceops.gallery.backend import GalleryStorage
from faceops.gallery.folder import FolderStorage

GalleryPlace = Path | GalleryStorage


def gallery_place(text: str) -> GalleryPlace:
    """Return the place that --gallery names: a folder, or an address of PostgreSQL.

    Raises:
        UsageError: it looks like an address, and is none of a gallery.
    """
    if "://" not in text:
        return Path(text)
    from faceops.gallery.postgres.address import Address

    address = Address.parse(text)
    from faceops.gallery.postgres.storage import PostgresStorage

    return PostgresStorage(address)


def storage_of(place: GalleryPlace) -> GalleryStorage:
    """Return the storage at a place."""
    return place if isinstance(place, GalleryStorage) else FolderStorage(place)
