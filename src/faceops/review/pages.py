"""The addresses of the server and their responses: pages, JSON for their script, pictures."""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from faceops.base.errors import FaceOpsError, UsageError, counted, user_error
from faceops.review.album import Album
from faceops.review.faces import face_json, percent
from faceops.review.lists import Group, PersonCard, Pile, person_rows
from faceops.review.requests import KEY, SHA256, UNKNOWN, parse
from faceops.review.server import Access, Guard

T = TypeVar("T")

_MADE = 50  # batches on a page of the history
_GROUPS, _PEOPLE = 60, 240  # on a page
_PORTRAITS = 4  # enrolled faces beside a pile
_FACE_SIZES, _PHOTO_SIDES = (96, 240), (1600, 240)  # pixels; the first is sent unless asked
_PICTURE_S = 600  # a browser keeps a picture so long; not longer, because people are forgotten
_PAGES = (  # address, name, and key in "left" of the status
    ("confirm", "To confirm", "confirm"),
    ("people", "People", ""),
    ("unknown", "Unknown people", "unknown"),
    ("history", "History", ""),
    ("doctor", "Gallery doctor", ""),
)


def page_of(name: str, page: str) -> str:
    """Return the path of a page about `name`."""
    return f"/{page}/{quote(name, safe='')}"


def moment(time: str) -> str:
    """Return a time of the journal as this machine's clock shows it."""
    return datetime.fromisoformat(time).astimezone().strftime("%d %B %Y, %H:%M")


def enrolled(crop_id: str) -> str:
    """Return the path of the picture of an enrolled face, which may have none."""
    return f"/picture/enrolled/{crop_id}" if crop_id else "/static/nobody.svg"


def capitalise(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def environment() -> Environment:
    """Return the environment of the templates, which escape their values."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (page_of, percent, counted, moment, enrolled, capitalise)
    templates.filters |= {one.__name__: one for one in filters}
    templates.globals["pages"] = _PAGES
    return templates


def create_app(album: Album, access: Access) -> ASGIApp:
    """Return the ASGI app that shows `album` to those whom `access` lets in."""
    pages = Pages(album)

    def door(problem: str, status: int) -> Response:
        asks = bool(access.password)
        return pages.html("door", "", status, problem=problem, asks_password=asks)

    def post(answer: Callable[[Request, bytes], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(answer, request, await request.body())

        return endpoint

    routes = [
        Route("/", lambda request: RedirectResponse("/confirm", 303)),
        Route("/confirm", pages.piles),
        Route("/confirm/{name:path}", pages.pile),
        Route("/people", pages.people),
        Route("/people/{name:path}", pages.person),
        Route("/unknown", pages.groups),
        Route("/unknown/{name}", pages.group),
        Route("/photo/{photo_id}", pages.photo),
        Route("/why/{key}", pages.why),
        Route("/history", pages.history),
        Route("/doctor", pages.doctor),
        Route("/search", pages.search),
        Route("/picture/face/{key}", pages.face_picture),
        Route("/picture/photo/{photo_id}", pages.photo_picture),
        Route("/picture/enrolled/{crop_id}", pages.enrolled_picture),
        Route("/api/faces/{kind}", pages.faces),
        Route("/api/photo/{photo_id}", pages.photo_json),
        Route("/api/people", pages.names),
        Route("/api/status", pages.status),
        Route("/api/publish", post(pages.publish), methods=["POST"]),
        Route("/api/{decision}", post(pages.decide), methods=["POST"]),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
    errors = (KeyError, FaceOpsError, OSError, HTTPException, Exception)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(errors, pages.problem))
    app.router.redirect_slashes = False
    return Guard(app, access, door)  # around all of it, so that errors have its headers too


class Pages:
    """The handlers of `create_app`, called from several threads at a time."""

    def __init__(self, album: Album) -> None:
        self._album, self._templates = album, environment()
        self._made: dict[Callable, tuple[int, Any]] = {}

    def _of_version(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, cached while the album's version stays the same."""
        version = self._album.version
        known, content = self._made.get(make, (-1, None))
        if known != version:
            content = make()
            self._made[make] = version, content
        return content

    @property
    def _piles(self) -> list[Pile]:
        return self._of_version(self._album.piles)

    @property
    def _groups(self) -> list[Group]:
        return self._of_version(self._album.groups)

    def _count_groups(self) -> int:
        album = self._album.decided
        members = (album.unknown > 0) & album.is_unknown
        return len(np.unique(album.unknown[members]))

    @property
    def _cards(self) -> list[PersonCard]:
        return self._of_version(self._album.people_cards)

    def html(self, template: str, page: str, status: int = 200, **content: Any) -> Response:
        """Return a page; `page`: its entry in the menu, "" for none."""
        text = self._templates.get_template(f"{template}.html.j2").render(page=page, **content)
        return HTMLResponse(text, status)

    def problem(self, request: Request, error: Exception) -> Response:
        """Return the response to a request that failed."""
        status, message = 500, "Something went wrong; the terminal of faceops review says more."
        if isinstance(error, KeyError):
            status, message = 404, "This is not in the album, or no longer."
        elif isinstance(error, HTTPException):
            status, message = error.status_code, "There is no such page."
        elif reported := user_error(error):
            status, message = 400 if isinstance(error, UsageError) else 409, _sentence(reported)
        if request.url.path.startswith(("/api/", "/picture/")):
            return JSONResponse({"error": message}, status)
        title = "Not found" if status == 404 else "This did not work"
        return self.html("message", "", status, title=title, message=message)

    # Pages.

    def piles(self, request: Request) -> Response:
        pictures = {card.person: _portrait(card) for card in self._cards}
        piles = [
            vars(pile) | {"picture": pictures.get(pile.person) or f"/picture/face/{pile.keys[0]}"}
            for pile in self._piles
        ]
        return self.html("piles", "confirm", piles=piles)

    def pile(self, request: Request) -> Response:
        board = self._board("pile", request.path_params["name"], 0)
        return self.html("pile", "confirm", board=board)

    def people(self, request: Request) -> Response:
        part = _part(request, self._cards, _PEOPLE)
        cards = [_with_picture(card) for card in part.pop("items")]
        return self.html("people", "people", cards=cards, **part)

    def person(self, request: Request) -> Response:
        board = self._board("person", request.path_params["name"], 0)
        return self.html("person", "people", board=board)

    def groups(self, request: Request) -> Response:
        part = _part(request, self._groups, _GROUPS)
        return self.html("groups", "unknown", groups=part.pop("items"), **part)

    def group(self, request: Request) -> Response:
        name = request.path_params["name"]
        others = [group.name for group in self._groups if group.name != name]
        board = self._board("group", name, 0)
        return self.html("group", "unknown", board=board, others=others)

    def photo(self, request: Request) -> Response:
        return self.html("photo", "", photo=self._photo(request))

    def why(self, request: Request) -> Response:
        key = _matching(request, "key", KEY)
        why, face = self._album.why(key), self._album.face(key)
        return self.html("why", "", why=why, face=face_json(face, why.person))

    def history(self, request: Request) -> Response:
        start = _number(request, "start")
        made = self._album.history(start, _MADE)
        return self.html("history", "history", made=made, start=start, count=_MADE)

    def doctor(self, request: Request) -> Response:
        people = {card.person: _with_picture(card) for card in self._cards}
        doubtful, lookalikes = self._of_version(self._album.doctor)
        pairs = [
            (people[one.person], people[one.other])
            for one in lookalikes
            if one.person in people and one.other in people
        ]
        return self.html("doctor", "doctor", faces=doubtful, pairs=pairs)

    def search(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()[:200]
        people, photos = self._album.search(query)
        cards = {card.person: card for card in self._cards}
        found = [_with_picture(cards[name]) for name, _ in people if name in cards]
        return self.html("search", "", query=query, cards=found, photos=photos)

    # JSON for the script.

    def faces(self, request: Request) -> Response:
        kind, name = request.path_params["kind"], request.query_params.get("name", "")
        return JSONResponse(self._board(kind, name, _number(request, "start")))

    def photo_json(self, request: Request) -> Response:
        return JSONResponse(self._photo(request))

    def names(self, request: Request) -> Response:
        return JSONResponse({"people": self._album.people})

    def status(self, request: Request) -> Response:
        status = self._album.status
        is_idle = status.state == "idle" and not status.error
        left = {
            "confirm": sum(pile.faces for pile in self._piles),
            "unknown": self._of_version(self._count_groups),
        }
        content = {
            "text": "" if is_idle else _sentence(status.error or status.text),
            "busy": status.state != "idle",
            "publishing": status.state in ("publishing", "waiting"),
            "progress": status.progress,
            "unpublished": status.unpublished,
            "left": left,
        }
        return JSONResponse(content)

    def decide(self, request: Request, body: bytes) -> Response:
        decision = parse(request.path_params["decision"], body)
        answer = decision.apply(self._album)
        content = vars(answer) | {"version": self._album.version}
        headers = {"Clear-Site-Data": '"cache", "storage"'} if decision.forgets else None
        return JSONResponse(content, headers=headers)

    def publish(self, request: Request, body: bytes) -> Response:
        self._album.publish()
        return JSONResponse({"version": self._album.version})

    # Pictures.

    def face_picture(self, request: Request) -> Response:
        key, size = _matching(request, "key", KEY), _one_of(request, "size", _FACE_SIZES)
        return _picture(request, self._album.face_picture(key, size))

    def photo_picture(self, request: Request) -> Response:
        photo_id = _matching(request, "photo_id", SHA256)
        side = _one_of(request, "side", _PHOTO_SIDES)
        return _picture(request, self._album.photo_picture(photo_id, side))

    def enrolled_picture(self, request: Request) -> Response:
        crop_id = _matching(request, "crop_id", SHA256)
        return _picture(request, self._album.enrolled_picture(crop_id))

    # Parts of several responses.

    def _photo(self, request: Request) -> dict[str, Any]:
        photo = self._album.photo(_matching(request, "photo_id", SHA256))
        return {
            "photo": photo.photo_id,
            "path": photo.path,
            "size": photo.size,
            "faces": [face_json(face) for face in photo.faces],
        }

    def _board(self, kind: str, name: str, start: int) -> dict[str, Any]:
        """Return a list of faces from the index `start`, with the texts and totals of its page."""
        board: dict[str, Any] = {"kind": kind, "name": name, "shown": name, "start": start}
        if kind == "group":
            if re.fullmatch(UNKNOWN, name) is None:
                raise KeyError(name)
            group = next((one for one in self._groups if one.name == name), None)
            board["total"] = group.faces if group else 0
            board["perhaps"] = vars(group) if group and group.perhaps else None
            faces = self._album.group(name, start)
        elif kind == "person":
            card = self._card(name)
            board |= {"shown": card.shown, "portraits": [_portrait(card, 240)]}
            board["total"] = len(person_rows(self._album.decided, name))
            faces = self._album.person(name, start)
        elif kind == "pile":
            piles = self._piles
            at = next((at for at, pile in enumerate(piles) if pile.person == name), -1)
            board |= {"shown": self._card(name).shown, "portraits": self._portraits(name)}
            board["total"] = piles[at].faces if at >= 0 else 0
            following = [*piles[at + 1 :], *piles[: max(at, 0)]]
            board["next"] = vars(following[0]) if following else None
            faces = self._album.pile(name, start)
        else:
            raise KeyError(kind)
        person = "" if kind == "group" else name
        return board | {"faces": [face_json(face, person) for face in faces]}

    def _card(self, name: str) -> PersonCard:
        return {card.person: card for card in self._cards}[name]

    def _portraits(self, name: str) -> list[str]:
        card = self._card(name)
        faces = self._album.decided.gallery.faces
        own = sorted(faces.take(faces.where("person", [name])), key=lambda face: -face.quality)
        first = [_portrait(card, 240)] if card.key or not own else []
        return [*first, *(enrolled(face.crop_id) for face in own)][:_PORTRAITS]


def _portrait(card: PersonCard, size: int = 96) -> str:
    if not card.key:
        return enrolled(card.crop_id)
    return f"/picture/face/{card.key}" + (f"?size={size}" if size != _FACE_SIZES[0] else "")


def _with_picture(card: PersonCard) -> dict[str, Any]:
    return vars(card) | {"picture": _portrait(card)}


def _sentence(text: object) -> str:
    text = str(text)
    return f"{capitalise(text).rstrip('.')}." if text else ""


def _matching(request: Request, name: str, pattern: str) -> str:
    """Return a path parameter; KeyError if it does not match."""
    value = str(request.path_params[name])
    if re.fullmatch(pattern, value) is None:
        raise KeyError(value)
    return value


def _part(request: Request, items: Sequence[Any], count: int) -> dict[str, Any]:
    start = _number(request, "start")
    some = items[start : start + count]
    return {"items": some, "start": start, "count": count, "total": len(items)}


def _number(request: Request, name: str) -> int:
    value = request.query_params.get(name, "0")
    if not (value.isdecimal() and len(value) < 10):
        raise KeyError(value)
    return int(value)


def _one_of(request: Request, name: str, choices: tuple[int, ...]) -> int:
    value = _number(request, name) or choices[0]
    if value not in choices:
        raise KeyError(value)
    return value


def _picture(request: Request, content: bytes) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={_PICTURE_S}"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    kind = {b"RIFF": "webp", b"\x89PNG": "png"}.get(content[:4], "jpeg")
    return Response(content, headers=headers, media_type=f"image/{kind}")
