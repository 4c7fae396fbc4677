"""docs/marathon.md and the code have the same numbers."""

import json
import re
import zlib

import pytest
from dispatching import SAMPLE

import live
from fob.dispatcher import assembly
from fob.functions import app_definition, registration
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.marathon import (
    agents,
    app_cache,
    blocking_http,
    client,
    event_stream,
)

PAGE = " ".join((live.ROOT / "docs" / "marathon.md").read_text().split())
ID = "0e38b688-86e3-4966-9060-cf01eef59426"


@pytest.mark.parametrize(
    "said",
    [
        f"Connecting may take {client.CONNECT_TIMEOUT:g} s and a response"
        f" {client.READ_TIMEOUT:g} s",
        f"within {client.CONNECT_TIMEOUT + 2 * client.READ_TIMEOUT:g} s in all",
        f"Connecting may take {agents.CONNECT_TIMEOUT:g} s, a response {agents.READ_TIMEOUT:g} s",
        f"is left alone for {agents.RETRY_SECONDS:g} s",
        f"port {agents.AGENT_PORT} of the task's host",
        f"four times within about {round(sum(client.CHANGE_PAUSES))} s",
        "twice, after about {:g} s and {:g} s".format(*client.GET_PAUSES),
        f"nothing comes for {event_stream.SILENCE_SECONDS:g} s, the stream is considered dead",
        f"from {event_stream.FIRST_PAUSE:g} s to {event_stream.MAX_PAUSE:g} s",
        f"after {app_cache.MAX_AGE_SECONDS:g} s",
        f"every {assembly.SETTLE_EVERY:g} s it looks",
        f"more than {blocking_http.MAX_RESPONSE_BYTES >> 20} MiB is refused",
    ],
)
def test_a_number_in_the_docs_is_the_one_in_the_code(said: str) -> None:
    assert said in PAGE


def test_unsure_registrations_are_watched_as_long_as_documented() -> None:
    assert "for a minute at least" in PAGE
    assert registration.UNSURE_SECONDS == 60
    assert (len(client.CHANGE_PAUSES), client.THREADS) == (4, 8)


def test_an_app_is_as_large_as_documented() -> None:
    app = app_definition.app(
        ID, SAMPLE, Options(), "2016-04-02T23:09:47.123Z", PlacementSettings(remote=True)
    )
    whole = json.dumps(app).encode()
    said = re.search(r"about (\d+) KB, nearly all of it the runner; (\d+) KB compressed", PAGE)
    assert said
    for size, shown in zip((whole, zlib.compress(whole, 9)), said.groups(), strict=True):
        assert len(size) / 1000 == pytest.approx(int(shown), rel=0.05)
