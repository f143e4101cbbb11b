"""Tar headers whose names and attributes are short enough to be read into memory."""

import tarfile
from typing import Self

# The longest path of any system is far below this.
MAX_HEADER_BYTES = 1 << 20


class OversizedHeader(Exception):
    """A header claims more bytes of names or attributes than the limit.

    No `tarfile.TarError`: tarfile would take it for the end of the archive.
    """


class BoundedTarInfo(tarfile.TarInfo):
    """A tar member that refuses long headers before their bytes are read.

    `tarfile` reads the whole of a PAX header or GNU long name, whose size an archive may claim as
    it likes, hundreds of megabytes of zeros that compress to little. It has no setting against
    that, so this steps in where it decides what a header is by its type.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        long_kinds = (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        )
        if self.type in long_kinds and not 0 <= self.size <= MAX_HEADER_BYTES:
            raise OversizedHeader(
                f"a header of {self.size} bytes, more than the {MAX_HEADER_BYTES} allowed for names"
            )
        return super()._proc_member(tar)  # type: ignore[misc]
