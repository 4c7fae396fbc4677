import os
import socket
import time

import pytest
from local_service import SAMPLE, LocalService

import live

UNKNOWN = "11111111-86e3-4966-9060-cf01eef59426"


def raw(service: LocalService, data: bytes) -> bytes:
    """Send bytes; return everything until the dispatcher closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(data)
        response = b""
        while piece := sock.recv(65536):
            response += piece
        return response


def test_stats_are_the_published_bytes(service):
    response = service.ask("GET", "/api/stats")
    assert response.content == b'{"status": "fob up"}'
    assert response.headers["Etag"] == '"8af23ae30ba92d44d1a5335a5fc59f73e28588cc"'
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert response.headers["Server"].startswith("TornadoServer/")
    assert set(response.headers) == {"Content-Type", "Content-Length", "Date", "Etag", "Server"}


def test_gen_is_the_published_shape(service):
    response = service.ask("POST", "/api/gen", data=SAMPLE)
    assert len(response.content) == 46
    assert set(response.headers) == {"Content-Type", "Content-Length", "Date", "Server"}
    assert service.snippets.get(response.json()["id"]).content == SAMPLE


def test_meta_is_the_published_bytes(service):
    id_ = service.gen()
    service.place(id_, 25974)
    service.app(id_)["tasks"][0]["host"] = "10.0.6.172"
    # Marathon is asked about an app that is not in the table
    service.functions._timeouts.clear()
    response = service.ask("GET", f"/api/meta/{id_}")
    assert response.content == b'{"host": "10.0.6.172", "port": 25974}'
    assert response.headers["Etag"] == '"b69f36130995a150445c04026c126e8cf9d069c7"'


def test_head_is_get_without_a_body(service):
    response = service.ask("HEAD", "/api/stats")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == "20"


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "text/x-python",
        "text/plain",
        "application/octet-stream",
        None,
    ],
)
def test_gen_accepts_a_file_under_every_content_type_that_clients_use(service, kind):
    service.ask("POST", "/api/gen", data=SAMPLE, headers={"Content-Type": kind})
    # a form parser would fail on these
    body = b"a = '%zz&&;==&' * 9\ndef f(): return a\n"
    response = service.ask("POST", "/api/gen", data=body, headers={"Content-Type": kind})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", ["multipart/mixed; boundary=x", "application/gzip", "image/png"])
def test_gen_refuses_content_types_that_cannot_be_python(service, kind):
    refused = service.error("POST", "/api/gen", data=SAMPLE, headers={"Content-Type": kind})
    assert refused == (415, "unsupported_media_type")


def test_gen_refuses_a_compressed_body(service):
    headers = {"Content-Encoding": "gzip"}
    assert service.error("POST", "/api/gen", data=SAMPLE, headers=headers)[0] == 415


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        ("s = 'é'".encode("latin-1"), "not_text"),
        (b"x\0", "not_text"),
        (b"def f(:", "syntax_error"),
        (b"def a(): 0\ndef b(): 0", "no_callable"),
    ],
)
def test_bad_files_are_errors_and_leave_nothing_behind(service, body, code):
    assert service.error("POST", "/api/gen", data=body) == (400, code)
    assert service.files() == []
    assert service.marathon.apps == {}


def test_a_file_damaged_by_curl_d_gets_a_hint(service):
    body = b"def f():    return 1def g(): return 2"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = service.ask("POST", "/api/gen", data=body, headers=headers)
    assert "--data-binary" in response.json()["error"]["message"]


def test_an_error_lists_all_faults_of_a_query(service):
    response = service.ask("POST", "/api/gen?cpus=x&colour=red&env.PORT=1", data=SAMPLE)
    assert response.status_code == 400
    assert len(response.json()["error"]["details"]) == 3


def test_the_options_reach_the_app(service):
    query = "?cpus=0.5&mem=128&instances=2&timeout=5&concurrency=3&name=n&entry=call_me&env.A=1"
    app = service.app(service.gen(query=query))
    assert (app["cpus"], app["mem"], app["instances"]) == (0.5, 128, 2)
    wanted = {"FOB_TIMEOUT": "5", "FOB_CONCURRENCY": "3", "FOB_ENTRY": "call_me", "A": "1"}
    assert wanted.items() <= app["env"].items()
    assert app["labels"]["FOB_NAME"] == "n"


@pytest.mark.parametrize("expect", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_body_gets_its_response_however_it_is_sent(service, expect, chunked):
    body = b"x" * 10_000_000
    headers = {"Expect": "100-continue"} if expect else {}
    data = iter([body[:5_000_000], body[5_000_000:]]) if chunked else body
    response = service.ask("POST", "/api/gen", data=data, headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["details"] == {"bytes": 10_000_000, "limit": 262144}


def test_a_client_that_expects_100_is_refused_at_once(service):
    head = b"POST /api/gen HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n"
    response = raw(service, head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 413 ")


def test_a_file_that_does_not_fit_into_an_app_is_413(service):
    body = b"x = %r\ndef f(): 0\n" % os.urandom(60_000).hex()
    response = service.ask("POST", "/api/gen", data=body)
    assert response.status_code == 413
    assert response.json()["error"]["details"]["limit"] == 98304


@pytest.mark.parametrize("path", ["/", "/api", "/api/gen/", "/api/nope", "/api/functions/x/y"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_routes_are_404_in_the_one_shape(service, method, path):
    assert service.error(method, path, data=b"x" * 1000) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/gen", "POST"),
        ("POST", "/api/stats", "GET, HEAD"),
        ("PUT", f"/api/functions/{UNKNOWN}", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/api/functions", "GET, HEAD"),
    ],
)
def test_wrong_methods_are_405_with_the_right_ones(service, method, path, allowed):
    response = service.ask(method, path)
    assert response.status_code == 405
    assert ", ".join(sorted(response.headers["Allow"].split(", "))) == allowed
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
@pytest.mark.parametrize("path", ["nope", "gen", "functions/x", "call/x", "meta/%ff"])
def test_an_error_keeps_the_connection_or_announces_its_close(service, method, path):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        foreign = "Origin: http://evil.example\r\nContent-Length: 0\r\n"
        sock.sendall(f"{method} /api/{path} HTTP/1.1\r\nHost: localhost\r\n{foreign}\r\n".encode())
        first = sock.recv(65536)
        assert first.startswith(b"HTTP/1.1 4")
        if b"\r\nConnection: close\r\n" in first:
            assert sock.recv(1) == b""
        else:
            sock.sendall(b"GET /api/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_unknown_method_is_405(service):
    assert service.error("BREW", "/api/stats") == (405, "method_not_allowed")


@pytest.mark.parametrize("id_", ["x", "..", "%2e%2e", "%ff", UNKNOWN.upper(), "*"])
@pytest.mark.parametrize(
    "route", ["GET meta/{}", "GET cs/{}", "GET functions/{}", "DELETE functions/{}",
              "GET functions/{}/logs", "GET call/{}"],
)  # fmt: skip
def test_an_invalid_id_is_404_or_400(service, route, id_):
    method, path = route.split()
    status, code = service.error(method, "/api/" + path.format(id_))
    assert (status, code) in [(404, "not_an_id"), (404, "not_found"), (400, "bad_request")]


@pytest.mark.parametrize(
    "route", ["GET meta/{}", "GET cs/{}", "GET functions/{}", "DELETE functions/{}",
              "GET functions/{}/logs", "GET call/{}"],
)  # fmt: skip
@pytest.mark.parametrize("foreign", [False, True])
def test_unknown_ids_and_foreign_apps_are_404(service, route, foreign):
    if foreign:
        app_id = f"/fob-aviary/{UNKNOWN}"
        app = {"id": app_id, "labels": {}, "version": "v", "tasks": [], "instances": 1}
        service.marathon.apps[app_id] = app
        service.place(UNKNOWN, 1)
    method, path = route.split()
    assert service.error(method, "/api/" + path.format(UNKNOWN)) == (404, "not_found")
    assert len(service.marathon.apps) == foreign


def test_a_hanging_marathon_does_not_block_stats(make_service):
    service = make_service(read_timeout=1)
    id_ = service.gen()
    service.marathon.responses["GET /v2/apps"] = (200, None)
    service.marathon.responses["POST /v2/apps"] = (200, None)
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        sock.sendall(b"GET /api/meta/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % id_.encode())
        for _ in range(3):
            began = time.monotonic()
            assert service.ask("GET", "/api/stats").status_code == 200
            assert time.monotonic() - began < 0.5
    assert service.error("POST", "/api/gen", data=SAMPLE)[0] in (503, 504)


def test_a_bug_is_500_without_its_traceback(service, monkeypatch, caplog):
    def broken():
        raise RuntimeError("secret words")

    monkeypatch.setattr(service.functions, "summaries", broken)
    response = service.ask("GET", "/api/functions")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "secret words" in caplog.text


def test_the_log_has_one_line_per_request_without_query_and_body(service, caplog):
    with caplog.at_level("INFO"):
        service.gen(query="?env.KEY=hidden")
        live.until(lambda: "POST /api/gen 200 " in caplog.text)
    assert len([r for r in caplog.records if r.name.startswith("fob.dispatcher")]) == 1
    assert "hidden" not in caplog.text


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    "route", ["GET stats", "POST gen", "GET meta/x", "GET call/x", "POST call/x", "GET nope",
              "GET functions", "DELETE functions/x", "GET cs/x", "GET functions/x/logs"],
)  # fmt: skip
def test_foreign_web_pages_reach_no_route(service, route, headers):
    method, path = route.split()
    assert service.error(method, f"/api/{path}", headers=headers) == (403, "forbidden")


def test_running_code_and_changing_state_require_the_token(make_service):
    service = make_service(token="s3cret")
    bearer = {"Authorization": "Bearer s3cret"}
    id_ = service.ask("POST", "/api/gen", data=SAMPLE, headers=bearer).json()["id"]
    closed = [
        ("POST", "gen"), ("GET", f"call/{id_}"), ("PATCH", f"functions/{id_}"),
        ("DELETE", f"functions/{id_}"), ("GET", f"cs/{id_}"), ("GET", f"functions/{id_}/logs"),
    ]  # fmt: skip
    for method, path in closed:
        assert service.error(method, f"/api/{path}", data=b"x" * 9) == (401, "unauthorized")
        response = service.ask(method, f"/api/{path}", headers={"Authorization": "Bearer no"})
        assert response.headers["WWW-Authenticate"] == "Bearer"
    for path in ("stats", "functions", f"functions/{id_}"):
        assert service.ask("GET", f"/api/{path}").status_code == 200
    assert service.ask("DELETE", f"/api/functions/{id_}", headers=bearer).status_code == 200


def test_a_client_that_disconnects_during_gen_leaves_no_function_behind(service):
    service.marathon.responses["POST /v2/apps"] = (201, None)
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        head = b"POST /api/gen HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        sock.sendall(head % len(SAMPLE) + SAMPLE)
        live.until(lambda: "POST /v2/apps" in service.marathon.asked)
    service.on_loop(service.marathon.close)
    live.until(lambda: service.files() == [])
