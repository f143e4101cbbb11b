"""Who may use the page, over real HTTP: not other pages, other machines or hostile requests."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from faceops.base.errors import UsageError
from faceops.review import server
from faceops.review.server import Access, read_password
from tests.review.conftest import Served, serve

PASSWORD = "correct horse battery"


def decisions(served: Served) -> int:
    return len(served.album.history())


def a_face(served: Served) -> str:
    return served.album.piles()[0].keys[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:{port}"}, 421),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example:{port}"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "http://evil.example"}, 403),  # CSRF
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another server of this machine
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 403),
        ({"X_FaceOps": ""}, 403),  # a form of another page cannot send it
        ({"Cookie": ""}, 401),
        ({"Cookie": "faceops-{port}=guess"}, 401),
    ],
)
def test_a_decision_that_the_page_did_not_send_is_refused(served, headers, status):
    sent = {name: value.format(port=served.access.port) for name, value in headers.items()}
    before = decisions(served)
    body = {"keys": [a_face(served)], "person": "Ann Lee"}
    response = served.post("/api/confirm", body, **sent)
    assert response.status == status
    assert "error" in response.read().decode()
    assert decisions(served) == before


@pytest.mark.parametrize("path", ["/people", "/picture/face/{key}", "/api/status"])
def test_other_pages_and_rebound_names_read_nothing(served, path):
    path = path.format(key=a_face(served))
    assert served.request(path).status == 200
    assert served.request(path, Host="evil.example:80").status == 421
    for site in ("cross-site", "same-site"):
        assert served.request(path, Sec_Fetch_Site=site).status == 403
    assert served.request(path, Cookie="").status in (401, 403)


def test_the_first_address_gives_a_cookie_that_scripts_and_other_sites_do_not_get(served):
    token = served.access.token
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}  # in a web terminal
    entered = served.request(f"/?token={token}", Cookie="", **link)
    cookie = entered.headers["Set-Cookie"]
    assert entered.status == 200
    assert cookie.startswith(f"faceops-{served.access.port}=")
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert token not in cookie
    for wrong in ("", "x", token[:-1], f"{token}x", "%E2%98%83"):
        refused = served.request(f"/?token={wrong}", Cookie="")
        assert refused.status == 403
        assert refused.headers["Set-Cookie"] is None
    path = f"/?{urlsplit(served.access.url_for_once()).query}"
    assert served.request(path, Cookie="").status == 200
    assert served.request(path, Cookie="").status == 403


def test_every_answer_carries_the_headers(served):
    for path, cookie, caching in (
        ("/people", None, "no-store"),
        ("/api/status", None, "no-store"),
        ("/nothing", None, "no-store"),
        ("/people", "", "no-store"),
        ("/static/review.js", None, "no-cache"),
        (f"/picture/face/{a_face(served)}", None, "private, max-age=600"),
    ):
        response = served.request(path, **({} if cookie is None else {"Cookie": cookie}))
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == caching
        assert response.headers["Server"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/picture/photo/../../../../etc/passwd",
        "/picture/photo/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/picture/face/%2e%2e%2fstate.sqlite",
        "/picture/face/{key}%2f..%2f..",
        "/picture/face/{key}?size=100000",
        "/picture/enrolled/" + "0" * 64,
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/cli/review.py",
        "//etc/passwd",
        "/people/" + "%00",
        "/unknown/..%2f..",
        "/api/faces/__class__?name=x",
        "/api/faces/pile?name=Ann%20Lee&start=-1",
    ],
)
def test_an_address_reaches_no_other_file(served, path):
    response = served.request(path.format(key=a_face(served)))
    content = response.read()
    assert response.status in (400, 404)
    assert b"root:" not in content and b"import" not in content and b"Traceback" not in content


@pytest.mark.parametrize(
    ("decision", "content"),
    [
        ("confirm", {"keys": ["../../x"], "person": "Ann Lee"}),
        ("confirm", {"keys": [], "person": "Ann Lee"}),
        ("confirm", {"person": "Ann Lee"}),
        ("confirm", {"keys": "{key}", "person": "a\u200bb"}),
        ("confirm", {"keys": "{key}", "person": "x" * 300}),
        ("confirm", {"keys": "{key}", "person": "Ann Lee", "more": 1}),
        ("ignore", {"keys": "{key}", "kind": "because"}),
        ("draw", {"photo_id": "0" * 64, "box": [0, 0, "NaN", 1], "person": "Ann Lee"}),
        ("forget", {"person": "Ann Lee", "typed": "ann"}),
        ("name_group", {"unknown": "../x", "person": "Ann Lee"}),
        ("undo", {"batch": "0" * 16}),
        ("no_such", {}),
    ],
)
def test_a_wrong_decision_gets_a_sentence(served, decision, content):
    if content.get("keys") == "{key}":
        content = content | {"keys": [a_face(served)]}
    before = decisions(served)
    response = served.post(f"/api/{decision}", content)
    answer = response.read().decode()
    assert response.status in (400, 404)
    assert '"error":"' in answer and "Traceback" not in answer
    assert decisions(served) == before


def status_of(served: Served, header: str, body: bytes) -> int:
    """Send a decision with a body that does not end; return the status of the answer."""
    access = served.access
    host = f"127.0.0.1:{access.port}"
    lines = [
        f"POST /api/confirm HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nX-FaceOps: 1",
        f"Cookie: {access.cookie}={access.session}\r\n{header}\r\n\r\n",
    ]
    with socket.create_connection(("127.0.0.1", access.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        return int(connection.recv(1000).split()[1])


def test_bodies_that_are_too_large_or_no_json_are_refused(served):
    size = server.MAX_BODY + 1
    assert status_of(served, f"Content-Length: {size}", b"{") == 413
    chunk = f"{size:x}\r\n".encode() + b"x" * size
    assert status_of(served, "Transfer-Encoding: chunked", chunk) == 413
    for body in (b"", b"{", b"[]", b"\xff", b'{"keys":' + b"[" * 100_000):
        assert served.send("/api/confirm", "POST", body, {}).status == 400


def test_a_body_that_does_not_end_is_refused(served, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    begun = time.monotonic()
    assert status_of(served, "Content-Length: 100", b"{") == 408
    assert time.monotonic() - begun < 5
    assert served.request("/api/status").status == 200


@pytest.mark.parametrize("begin", [b"", b"GET /people HTTP/1.1\r\nHost: 127"])
def test_a_connection_without_a_request_ends(served, monkeypatch, begin):
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", served.access.port), timeout=10) as connection:
        connection.sendall(begin)
        assert connection.recv(1) == b""


@pytest.fixture(scope="module")
def beyond(served: Served) -> Iterator[Served]:
    """The same album as it is served to other machines."""
    with serve(served.album, served.found, PASSWORD, "0.0.0.0") as server:
        yield server


def log_in(beyond: Served, password: str) -> int:
    body = f"password={password.replace(' ', '+')}".encode()
    response = beyond.send("/login", "POST", body, {"Cookie": "", "X_FaceOps": ""})
    given = response.headers["Set-Cookie"] or ""
    assert (beyond.access.session in given) == (response.status == 200)
    return response.status


def test_other_machines_need_the_password(beyond):
    assert "token" not in beyond.access.url
    for path in ("/", f"/?token={beyond.access.token}", "/people"):
        response = beyond.request(path, Cookie="")
        assert (response.status, response.headers["Location"]) == (303, "/login")
    form = beyond.request("/login", Cookie="")
    # With no-referrer the browser would send the form with the Origin "null".
    assert form.status == 200 and form.headers["Referrer-Policy"] == "same-origin"
    assert log_in(beyond, "wrong") == 403
    assert log_in(beyond, "") == 403
    assert log_in(beyond, PASSWORD) == 200
    crowded = b"&".join(b"field=1" for _ in range(9))
    headers = {"Cookie": "", "X_FaceOps": ""}
    assert beyond.send("/login", "POST", crowded, headers).status == 400
    assert beyond.request(f"/picture/face/{a_face(beyond)}").headers["Cache-Control"] == "no-store"
    foreign = {"Origin": "http://evil.example", "X_FaceOps": ""}
    assert beyond.send("/login", "POST", b"password=x", foreign).status == 403


def test_passwords_cannot_be_guessed_fast(beyond):
    clock = [time.monotonic() + 100]
    beyond.access.now = lambda: clock[0]
    assert [log_in(beyond, f"guess {number}") for number in range(12)] == [403] * 10 + [429] * 2
    assert log_in(beyond, PASSWORD) == 429
    clock[0] += 61
    assert log_in(beyond, PASSWORD) == 200


def test_beyond_loopback_only_names_that_cannot_be_rebound_are_ours():
    beyond, loopback = Access("0.0.0.0", 81), Access("127.0.0.1", 80)
    own = socket.gethostname()
    for host in ("192.168.1.5", "[fe80::1]", "localhost", own, own.upper()):
        assert beyond.is_own_host(f"{host}:81"), host
    for host in ("evil.example", "192.168.1.5.evil.example", ""):
        assert not beyond.is_own_host(f"{host}:81"), host
    for host in ("127.0.0.1", "localhost:80", "[::1]", "[::1]:80"):  # browsers leave port 80 out
        assert loopback.is_own_host(host), host
    for host in ("evil.example", "192.168.1.5", "127.0.0.1:81", ""):
        assert not loopback.is_own_host(host), host


def test_a_short_or_missing_password_is_refused(tmp_path):
    path = tmp_path / "password"
    with pytest.raises(UsageError, match="cannot be read"):
        read_password(path)
    path.write_text("short\n" + "x" * 40)
    with pytest.raises(UsageError, match="at least 12 characters"):
        read_password(path)
    path.write_text(f"{PASSWORD}\n")
    assert read_password(path) == PASSWORD
