"""How a registered release is asked for: models:/NAME@ALIAS, or models:/NAME/VERSION."""

from dataclasses import dataclass

from faceops.base.errors import UsageError
from faceops.release.registry.store import CHAMPION, MODEL


@dataclass(frozen=True)
class Address:
    """A parsed address; one of `alias` and `version` is empty."""

    name: str
    alias: str
    version: str

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Read an address.

        Raises:
            UsageError: it is none.
        """
        alias = "@" in uri
        name, separator, which = uri.removeprefix("models:/").partition("@" if alias else "/")
        if not uri.startswith("models:/") or not separator or not name or not which:
            raise UsageError(
                f"{uri!r} names no release; write models:/{MODEL}@{CHAMPION} or"
                f" models:/{MODEL}/VERSION, or give --bundle DIR."
            )
        return cls(name, which if alias else "", "" if alias else which)

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")
