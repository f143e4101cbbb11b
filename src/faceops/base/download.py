"""Download one file over http or https: bounded, and resumed where the server supports it."""

import base64
import http.client
import netrc
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from faceops.base.errors import FaceOpsError
from faceops.base.work import track

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0  # without a byte, not for the whole download


class DownloadError(FaceOpsError):
    """A download that failed; `reason` is the message without the advice at its end."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}.")
        self.reason = reason


def download(url: str, target: Path, max_bytes: int = 60_000_000_000) -> Path:
    """Download `url` to the file `target` and return it; an existing file is kept.

    User and password may stand in the URL, or for its host in ~/.netrc, where no list of processes
    shows them. They are not sent to another host that the server redirects to.

    After an interruption, what has arrived is in `target`.part. The next call requests the rest
    if the server still has the same version, by its ETag or date of modification.

    Raises DownloadError: not http(s), no answer, an error status, too many bytes or too few.
    """
    if target.is_file():
        return target
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not an http or https address", "give one, or a path")
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag_file = target.with_name(target.name + ".part"), target.with_name(target.name + ".tag")
    request = _request(url)
    size = _request_rest(request, part, tag_file)
    too_large = DownloadError(
        f"{url} has more than the limit of {max_bytes:,} bytes",
        "download it yourself and give its path",
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if answer.status != 206:  # the whole file, not the rest
                size = 0
            expected = None if answer.length is None else size + answer.length
            if (expected or 0) > max_bytes:
                raise too_large
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            tag_file.write_text(tag, encoding="utf-8")
            blocks = iter(lambda: answer.read(_BLOCK), b"")
            total = None if answer.length is None else -(-answer.length // _BLOCK)
            with part.open("ab" if size else "wb") as file:
                for block in track(blocks, f"download {target.name} (MiB)", total):
                    size += len(block)
                    if size > max_bytes:
                        raise too_large
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is not the beginning of what the server has
            part.unlink(missing_ok=True)
            tag_file.unlink(missing_ok=True)
        raise DownloadError(
            f"{url} was refused by the server ({error.code} {error.reason})", "check the address"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{url} could not be downloaded ({reason})",
            "run it again to resume, or download the file yourself and give its path",
        ) from None
    if expected is not None and size != expected:
        raise DownloadError(
            f"{url} ended after {size} of {expected} bytes", "run it again to resume"
        )
    part.replace(target)
    tag_file.unlink(missing_ok=True)
    return target


def _request(url: str) -> urllib.request.Request:
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        try:
            user, _, password = netrc.netrc().authenticators(parts.hostname or "") or ("", "", "")
        except (OSError, netrc.NetrcParseError):  # there is none, or it is not for this user alone
            user = ""
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(address, headers={"User-Agent": "faceops"})
    if user:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _request_rest(request: urllib.request.Request, part: Path, tag_file: Path) -> int:
    """Request what `part` lacks if its version is known; return the size of `part`, else 0."""
    try:
        tag, size = tag_file.read_text(encoding="utf-8"), part.stat().st_size
    except (OSError, UnicodeDecodeError):
        return 0
    if not size or not tag or tag.startswith("W/"):  # RFC 9110 13.1.5: no ranges for weak ETags
        return 0
    request.add_header("Range", f"bytes={size}-")
    request.add_header("If-Range", tag)
    return size
