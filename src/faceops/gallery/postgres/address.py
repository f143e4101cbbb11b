"""The address of a gallery in a database. It imports no package: every command may name one."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from faceops.base.errors import UsageError

EXAMPLE = "postgresql://HOST/DATABASE?gallery=NAME"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,54}")
_SECRETS = {"password", "sslpassword"}


@dataclass(frozen=True)
class Address:
    """Where a gallery is.

    Attributes:
        shown: a URL as --gallery takes it, without a password.
        gallery: the name among the galleries of the database.
        connection: the URL for libpq, with the password if the user gave one.
    """

    shown: str
    gallery: str
    connection: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address of postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE?gallery=NAME.

        Everything but `gallery` is as libpq reads it; without it the name is "gallery".

        Raises:
            UsageError: it is not such a URL.
        """
        wrong = f"--gallery takes a folder, or {EXAMPLE}"
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise UsageError(f"{text} is not an address ({error}); {wrong}.") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise UsageError(f"{text} is not the address of a gallery; {wrong}.")
        login, at, host = parts.netloc.rpartition("@")
        if "@" in login or "@" in parts.path + parts.query or parts.fragment:
            raise UsageError(
                f"the address of the gallery has @, # or / in a password; write them as %40, %23 "
                f"and %2F, or give the password by PGPASSWORD or ~/.pgpass; {wrong}."
            )
        query = parse_qsl(parts.query, keep_blank_values=True)
        names = [value for key, value in query if key == "gallery"] or ["gallery"]
        if len(names) > 1 or not _NAME.fullmatch(names[0]):
            raise UsageError(
                f"{names[-1]!r} is not the name of a gallery in a database; use small letters, "
                f"digits and _, at most 55: {EXAMPLE}."
            )
        rest = [(key, value) for key, value in query if key != "gallery"]
        public = [("gallery", names[0]), *(pair for pair in rest if pair[0] not in _SECRETS)]

        def url(user: str, pairs: list[tuple[str, str]]) -> str:
            more = f"?{urlencode(pairs, safe='/', quote_via=quote)}" if pairs else ""
            return f"postgresql://{user}{at if user else ''}{host}{parts.path}{more}"

        return cls(url(login.partition(":")[0], public), names[0], url(login, rest))
