"""Which files and folders of a photo folder are skipped: system folders, and patterns of the user.

Patterns are those of gitignore: in files named .faceopsignore, for the folder that they are in, and
of the option --exclude, for the folder of the photos.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.stores import is_url, read_object, shown

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IGNORE_FILE = ".faceopsignore"
_MAX_BYTES = 1_000_000  # of such a file in a store
HIDDEN = ".*"  # the rule that skips hidden folders

# What systems and programs keep beside photos: thumbnails, previews, deleted files, indexes. By
# name in lower case; hidden ones are skipped anyway.
SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@tmp"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *("$recycle.bin", "system volume information"),  # Windows
        *("__macosx", "lost+found"),
    }
)
SYSTEM_FILES = frozenset({"Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini"})
SYSTEM_SUFFIXES = (".lrdata", ".lrcat-data")  # Lightroom's previews
# Of a library of Apple's programs, only the folders of originals hold the user's photos.
LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
ORIGINALS = ("originals", "masters")


@dataclass(frozen=True)
class ExcludeRules:
    """The rules for the entries of one folder."""

    # Where they come from, the length of the path of their folder, and the patterns. The first that
    # matches decides, also that an entry is not skipped (`!pattern`).
    patterns: tuple[tuple[str, int, "list[GitIgnoreSpecPattern]"], ...] = ()

    @classmethod
    def of_options(cls, root: Path, exclude: Sequence[str]) -> "ExcludeRules":
        """Return the rules of the option --exclude.

        Raises:
            UsageError: a pattern is wrong.
        """
        if not exclude:
            return cls()
        return cls((("", len(_prefix(root)), _parse(exclude, "--exclude")),))

    def below(self, folder: Path, root: Path) -> "ExcludeRules":
        """Return the rules with those of the file .faceopsignore in `folder`.

        Raises:
            UsageError: a pattern is wrong, or the file is not UTF-8 text.
            FaceOpsError: it cannot be read.
        """
        file = folder / IGNORE_FILE
        if file.exists() and not file.is_file():  # reading a pipe would wait for a writer
            raise FaceOpsError(f"{printable(file)} is not a file; remove it.")
        try:
            content = read_object(file, _MAX_BYTES) if is_url(file) else file.read_bytes()
        except OSError as error:
            raise FaceOpsError(
                f"{printable(shown(file))} cannot be read ({error.strerror or error}); give this "
                "user permission."
            ) from None
        if b"\0" in content:
            raise UsageError(f"{printable(file)} is not UTF-8 text; save it as UTF-8.")
        # As names that are not UTF-8 are decoded, so that patterns match them.
        lines = content.decode("utf-8-sig", "surrogateescape").splitlines()
        name = printable(file.relative_to(root))
        own = (f"{name}: ", len(_prefix(folder)), _parse(lines, printable(file)))
        # Patterns of options come first, then those of the nearest file.
        options = sum(source == "" for source, _, _ in self.patterns)
        return ExcludeRules((*self.patterns[:options], own, *self.patterns[options:]))

    def for_entries(self, folder: Path) -> Callable[[str, bool], str | None]:
        """Return a function that returns the rule which skips an entry of `folder`, or None.

        It takes the entry's name and whether that is a folder.
        """
        prefix = _prefix(folder)
        is_library = folder.suffix.lower() in LIBRARY_SUFFIXES
        is_plain = not self.patterns and not is_library

        def rule_for(name: str, is_folder: bool) -> str | None:
            if is_plain and not is_folder:  # most files
                return name if name in SYSTEM_FILES else None
            for source, start, patterns in self.patterns:
                path = prefix[start:] + name + "/" * is_folder
                for pattern in patterns:
                    if _matches(pattern, path):
                        return f"{source}{pattern.pattern!s}" if pattern.include else None
            lower = name.lower()
            if lower in SYSTEM_NAMES or name in SYSTEM_FILES:
                return name
            if lower.endswith(SYSTEM_SUFFIXES):
                return f"*{Path(name).suffix}"
            return f"*{folder.suffix}" if is_library and lower not in ORIGINALS else None

        return rule_for


def _prefix(folder: Path) -> str:
    """Return what the paths of entries of `folder` start with."""
    shown = folder.as_posix()
    return "" if shown == "." else shown.rstrip("/") + "/"


def _matches(pattern: "GitIgnoreSpecPattern", path: str) -> bool:
    """Return whether `pattern` matches `path` itself; a walk has matched the folders above.

    pathspec's own matching takes "!/folder" for all files in it, and "folder/**" for the folder.
    """
    if str(pattern.pattern).endswith("/**"):
        path = path.rstrip("/")
    found = pattern.regex.match(path) if pattern.regex else None
    above = found and found.groupdict().get("ps_d") and found.end("ps_d") < len(path)
    return found is not None and not above


def _parse(lines: Sequence[str], source: str) -> "list[GitIgnoreSpecPattern]":
    """Return the patterns, the last one first, as it decides."""
    # Only walks with patterns load it: 0.1 s.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        patterns = [GitIgnoreSpecPattern(line) for line in lines]
    except ValueError as error:
        raise UsageError(f"{source}: {error}; write patterns as in a .gitignore file.") from None
    return [pattern for pattern in reversed(patterns) if pattern.include is not None]
