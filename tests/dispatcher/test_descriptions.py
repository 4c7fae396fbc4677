import json

import pytest

from fob.dispatcher.api import descriptions

TOLD = {
    "entry": "f",
    "convention": "plain",
    "why": "",
    "signature": "f()",
    "doc": "Do it.\n\n    Well.",
    "parameters": {"type": "object", "properties": {}},
    "returns": None,
}


class Teller:
    """A function with one response for every request; `asked` are the request lines."""

    def __init__(self, content: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content))
        self.response = head + content
        self.asked: list[bytes] = []

    async def __call__(self, reader, writer) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.asked.append(line)
            writer.write(self.response)


def test_a_description_is_requested_once_per_version(service):
    teller = Teller(json.dumps(TOLD).encode())
    id_ = service.function(teller)
    for kind in ("openapi", "schema", "openapi"):
        assert service.ask("GET", f"/api/functions/{id_}/{kind}.json").status_code == 200
    assert teller.asked == [b"OPTIONS * HTTP/1.1\r\n"]
    service.app(id_)["version"] = "2016-04-02T23:59:59.000Z"
    assert service.ask("GET", f"/api/functions/{id_}/schema.json").status_code == 200
    assert len(teller.asked) == 2


def test_the_docstring_loses_its_indentation(service):
    id_ = service.function(Teller(json.dumps(TOLD).encode()))
    schema = service.ask("GET", f"/api/functions/{id_}/schema.json").json()
    assert (schema["title"], schema["description"]) == (id_, "Do it.\n\nWell.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"[" * 100_000,
        b"\xff",
        b"[]",
        b'{"result": null}',
        json.dumps(TOLD | {"parameters": "none"}).encode(),
        json.dumps(TOLD | {"doc": "x" * descriptions.MAX_DESCRIPTION_BYTES}).encode(),
    ],
    ids=["nothing", "text", "deep", "bytes", "list", "call", "kinds", "much"],
)
def test_an_invalid_description_is_an_error(service, content):
    id_ = service.function(Teller(content))
    response = service.error("GET", f"/api/functions/{id_}/openapi.json")
    assert response == (502, "call_failed")


def test_a_silent_function_is_not_waited_for_forever(service, monkeypatch):
    monkeypatch.setattr(descriptions, "RESPONSE_SECONDS", 0.1)

    async def silent(reader, writer) -> None:
        await reader.read()

    id_ = service.function(silent)
    assert service.error("GET", f"/api/functions/{id_}/openapi.json") == (502, "call_failed")


def test_a_function_that_closes_the_connection_is_an_error(service):
    async def closing(reader, writer) -> None:
        return

    id_ = service.function(closing)
    assert service.error("GET", f"/api/functions/{id_}/schema.json") == (502, "call_failed")


@pytest.mark.parametrize("kind", ["openapi", "schema"])
def test_descriptions_require_the_token(make_service, kind):
    service = make_service(token="secret")
    path = f"/api/functions/11111111-86e3-4966-9060-cf01eef59426/{kind}.json"
    assert service.error("GET", path) == (401, "unauthorized")
    headers = {"Authorization": "Bearer secret"}
    assert service.error("GET", path, headers=headers) == (404, "not_found")
