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
    """A function that answers every request with the same, and remembers what it was asked."""

    def __init__(self, content: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content))
        self.answer = head + content
        self.asked: list[bytes] = []

    async def __call__(self, reader, writer) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.asked.append(line)
            writer.write(self.answer)


def test_a_function_is_asked_once_for_each_version(house):
    teller = Teller(json.dumps(TOLD).encode())
    id_ = house.function(teller)
    for kind in ("openapi", "schema", "openapi"):
        assert house.ask("GET", f"/api/functions/{id_}/{kind}.json").status_code == 200
    assert teller.asked == [b"OPTIONS * HTTP/1.1\r\n"]
    house.app(id_)["version"] = "2016-04-02T23:59:59.000Z"
    assert house.ask("GET", f"/api/functions/{id_}/schema.json").status_code == 200
    assert len(teller.asked) == 2


def test_the_docstring_loses_its_indentation(house):
    id_ = house.function(Teller(json.dumps(TOLD).encode()))
    schema = house.ask("GET", f"/api/functions/{id_}/schema.json").json()
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
def test_whatever_a_function_tells_it_harms_nobody(house, content):
    id_ = house.function(Teller(content))
    answer = house.error("GET", f"/api/functions/{id_}/openapi.json")
    assert answer == (502, "call_failed")


def test_a_function_that_tells_nothing_is_not_waited_for_for_ever(house, monkeypatch):
    monkeypatch.setattr(descriptions, "RESPONSE_SECONDS", 0.1)

    async def silent(reader, writer) -> None:
        await reader.read()

    id_ = house.function(silent)
    assert house.error("GET", f"/api/functions/{id_}/openapi.json") == (502, "call_failed")


def test_a_function_that_closes_the_connection_is_an_error(house):
    async def closing(reader, writer) -> None:
        return

    id_ = house.function(closing)
    assert house.error("GET", f"/api/functions/{id_}/schema.json") == (502, "call_failed")


@pytest.mark.parametrize("kind", ["openapi", "schema"])
def test_descriptions_want_the_token(make_house, kind):
    house = make_house(token="secret")
    path = f"/api/functions/11111111-86e3-4966-9060-cf01eef59426/{kind}.json"
    assert house.error("GET", path) == (401, "unauthorized")
    headers = {"Authorization": "Bearer secret"}
    assert house.error("GET", path, headers=headers) == (404, "not_found")
