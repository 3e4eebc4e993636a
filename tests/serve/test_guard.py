"""Who may ask the server for what."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from selection.errors import ServeError
from selection.serve import guard, guesses
from selection.serve.guard import COOKIE, Rules, host_name, is_loopback, make_rules
from tests.serve.serve_bench import open_server

PATHS = ["/", "/dashboard", "/api/studies", "/selection/", "/selection/studies/iris/", "/nowhere"]
NOTE = "/api/studies/1/note"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", [*PATHS, "/api/studies/1", NOTE, "/api/trials/1/tell"])
def test_only_reading_is_allowed(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, json={"note_version": 1, "body": "x"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert "--allow-edit" in answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "192.0.2.7",
        "localhost:8080@evil.example",
        "localhost evil",
        "",
        "[::ffff",
        "a" * 5000,
    ],
)
def test_a_foreign_host_is_refused(client: TestClient, path: str, host: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "this server answers only requests for the names of its own machine" in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.8.8.8", "[::1]:80"]
)
def test_names_of_this_machine_are_trusted(client: TestClient, host: str) -> None:
    assert client.get("/selection/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_its_headers(client: TestClient, path: str) -> None:
    headers = client.get(path, follow_redirects=False).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    allowed = "'self'" if path.startswith("/selection/") else "'self' 'unsafe-eval'"
    assert policy["script-src"] == allowed
    assert not any("http" in value for value in policy.values())


def test_the_dashboard_has_one_policy_alone(client: TestClient) -> None:
    assert len(client.get("/dashboard").headers.get_list("content-security-policy")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/selection/static/..%2f..%2fhtml.py",
        "/selection/static/%2e%2e/html.py",
        "/selection/static/templates/base.html",
        "/selection/studies/iris/export/..%2f..%2f..%2fetc%2fpasswd",
        "/selection/studies/iris/export/%2fetc%2fpasswd",
        "/selection/studies/..%2f..%2fetc/export/best.toml",
        "/selection/studies/iris/figures/..%2fhistory.json",
        "/selection/studies/iris%00/",
        "/static/..%2f_app.py",
        "/static/%2e%2e/_app.py",
    ],
)
def test_a_path_leads_nowhere_else(study_url: str, path: str) -> None:
    with open_server(study_url) as client:
        assert client.get(path).status_code in (403, 404)


def test_off_loopback_there_is_always_a_token() -> None:
    assert make_rules("127.0.0.1", "", allow_edit=False).token is None
    assert make_rules("::1", "", allow_edit=False).token is None
    first, second = (make_rules("0.0.0.0", "", allow_edit=False).token for _ in range(2))
    assert first is not None
    assert len(first) > 20
    assert first != second
    given = "mine and long enough"
    assert make_rules("192.0.2.7", given, allow_edit=False).token == given
    assert make_rules("127.0.0.1", given, allow_edit=False).token == given
    behind = make_rules("127.0.0.1", "", allow_edit=False, proxy_host="Studies.example")
    assert behind.token is not None
    assert "studies.example" in behind.hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_that_can_be_guessed_is_refused(host: str) -> None:
    with pytest.raises(ServeError, match="at least 16 characters, but got 15 of them"):
        make_rules(host, "x" * 15, allow_edit=False)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
    ],
)
def test_what_is_loopback(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("a.b", "a.b"),
        ("a:b", ""),
        ("a:80:80", ""),
        ("a@b", ""),
        ("[::1", ""),
    ],
)
def test_the_name_of_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


OPEN = Rules(frozenset({"localhost", "box"}), "s3cret", allow_edit=False)


def test_without_the_token_nothing_is_shown(sqlite_study: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for path in [*PATHS, "/selection/?token=other", "/selection/?token="]:
            answer = client.get(path, follow_redirects=False)
            assert answer.status_code == 401
            assert "This server asks for a token" in answer.text
            assert "iris" not in answer.text
        client.cookies.set(COOKIE, "other")
        assert client.get("/selection/").status_code == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(sqlite_study: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        answer = client.get(
            "/selection/studies/iris/?sort=epochs&token=s3cret", follow_redirects=False
        )
        assert answer.status_code == 303
        assert answer.headers["location"] == "/selection/studies/iris/?sort=epochs"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/selection/studies/iris/").status_code == 200
        assert client.get("/api/studies").status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/?token=s3cret", "/%5Cevil.example/?token=s3cret"])
def test_a_token_leads_to_no_other_host(sqlite_study: str, path: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        answer = client.get(f"http://localhost:8080{path}", follow_redirects=False)
        location = answer.headers["location"]
        assert location.startswith("/")
        assert location[1:2] not in ("/", "\\")


def test_with_a_token_every_address_of_the_machine_is_trusted(sqlite_study: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for host, code in (("192.0.2.7:8080", 401), ("box", 401), ("evil.example", 400)):
            assert client.get("/selection/", headers={"Host": host}).status_code == code


EDIT = Rules(frozenset({"localhost"}), None, allow_edit=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("PUT", "/api/studies/1/note/x"),
        ("POST", NOTE),
        ("PUT", "/selection/studies/iris/"),
    ],
)
def test_edits_that_break_a_study_are_refused_even_then(
    sqlite_study: str, method: str, path: str
) -> None:
    with open_server(sqlite_study, EDIT) as client:
        assert client.request(method, path, json={}).status_code == 403
        assert client.get("/selection/api/studies/iris").status_code == 200


def test_a_cookie_of_another_program_does_not_hide_the_token(sqlite_study: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for other in ('other={"a":1}', "o[x]=1", "=", ";;"):
            headers = {"Cookie": f"{other}; {COOKIE}=s3cret"}
            assert client.get("/selection/", headers=headers).status_code == 200


def test_a_note_that_is_no_json_is_refused(sqlite_study: str) -> None:
    with open_server(sqlite_study, EDIT) as client:
        headers = {"Content-Type": "text/plain"}
        assert client.put(NOTE, content="{}", headers=headers).status_code == 415


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9"])
def test_another_site_may_not_write(sqlite_study: str, origin: str) -> None:
    with open_server(sqlite_study, EDIT) as client:
        body = {"note_version": 1, "body": "x"}
        assert client.put(NOTE, json=body, headers={"Origin": origin}).status_code == 403


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the guard makes, which take no time here."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(guard, "sleep", sleep)
    return pauses


def test_a_wrong_token_is_answered_late(sqlite_study: str, slept: list[float]) -> None:
    with open_server(sqlite_study, OPEN) as client:
        assert client.get("/selection/").status_code == 401
        assert sum(slept) == 0.0
        assert client.get("/selection/?token=wrong").status_code == 401
        assert sum(slept) == guesses.WRONG_SECONDS


def test_who_guesses_waits_before_the_answer_is_known(
    sqlite_study: str, slept: list[float]
) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for number in range(guesses.FREE_GUESSES + 1):
            client.get(f"/selection/?token={number}")
        slept.clear()
        answer = client.get("/selection/?token=s3cret", follow_redirects=False)
        assert (answer.status_code, slept) == (303, [guesses.SUSPECT_SECONDS])


def test_an_old_cookie_is_no_guess(sqlite_study: str, slept: list[float]) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for _ in range(3 * guesses.FREE_GUESSES):
            client.get("/selection/", headers={"Cookie": f"{COOKIE}=old"})
        slept.clear()
        assert client.get("/selection/?token=s3cret").status_code == 200
        assert sum(slept) == 0.0


def test_wrong_tokens_are_forgotten_in_time_and_in_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = guesses.Guesses()
    monkeypatch.setattr(guesses, "MOST_ADDRESSES", 3)
    for address in "abcd":
        for number in range(100):
            known.add(address, str(number))
    assert [known.pause(address) > 0 for address in "abcd"] == [False, True, True, True]
    assert all(len(each) <= guesses.FREE_GUESSES + 1 for each in known._wrong.values())
    monkeypatch.setattr(guesses, "REMEMBERED_SECONDS", -1.0)
    assert known.pause("d") == 0.0


@pytest.mark.usefixtures("slept")
def test_no_cache_keeps_a_token(sqlite_study: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        for token in ("wrong", "s3cret"):
            answer = client.get(f"/selection/?token={token}", follow_redirects=False)
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_behind_tls_the_cookie_stays_there(sqlite_study: str, scheme: str) -> None:
    with open_server(sqlite_study, OPEN) as client:
        url = f"{scheme}://localhost:8080/selection/?token=s3cret"
        cookie = client.get(url, follow_redirects=False).headers["set-cookie"].lower()
        assert ("secure" in cookie) is (scheme == "https")


def test_a_body_that_is_too_long_is_refused(sqlite_study: str) -> None:
    with open_server(sqlite_study, EDIT) as client:
        body = {"note_version": 1, "body": "x" * 1_000_000}
        assert client.put(NOTE, json=body).status_code == 413
        assert client.get("/api/studies").status_code == 200
