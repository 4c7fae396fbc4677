"""A function is changed while it is called, without a failed call."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import requests

import live

TELLS = "import os\n\n\ndef f():\n    return os.environ['ANSWER']\n"


class Callers:
    """Three clients that call continuously, each on its own connection, one with bodies."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(3)]
        self.answers: Counter[tuple[int, str]] = Counter()

    @contextmanager
    def calling(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def _call(self, number: int) -> None:
        with requests.Session() as session:
            while not self._over.wait(0.005):
                ask = session.get if number else session.post
                answer = ask(self._url, timeout=live.PATIENCE_SECONDS)
                self.answers[answer.status_code, answer.text] += 1


def settled(dispatcher: live.Dispatcher, id_: str) -> bool:
    details = dispatcher.ask("GET", f"/api/functions/{id_}").json()
    return len(details["instances"]) == details["instances_ready"] == 1


def test_no_call_fails_while_a_function_is_changed(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen(TELLS, "?env.ANSWER=0")
    assert dispatcher.call(id_).json() == {"result": "0"}
    callers = Callers(f"{dispatcher.url}/api/call/{id_}")
    with callers.calling():
        for answer in "123":
            change = {"env": {"ANSWER": answer}}
            assert dispatcher.ask("PATCH", f"/api/functions/{id_}", json=change).ok
            new = (200, f'{{"result": "{answer}"}}')
            live.until(lambda new=new: callers.answers[new] > 3, "the new answer")
            live.until(lambda: settled(dispatcher, id_), "the end of the old instance")
    assert {status for status, _ in callers.answers} == {200}
    assert {text for _, text in callers.answers} == {f'{{"result": "{n}"}}' for n in "0123"}


def test_a_change_that_does_not_start_leaves_the_old_instance(dispatcher: live.Dispatcher) -> None:
    picky = TELLS.replace("\n", "\nassert os.environ['ANSWER'] != 'bad'\n", 1)
    id_ = dispatcher.gen(picky, "?env.ANSWER=0")
    assert dispatcher.call(id_).json() == {"result": "0"}
    change = {"env": {"ANSWER": "bad"}}
    assert dispatcher.ask("PATCH", f"/api/functions/{id_}", json=change).ok

    def failed() -> bool:
        details = dispatcher.ask("GET", f"/api/functions/{id_}").json()
        return "AssertionError" in str(details["last_failure"])

    live.until(failed, "the failure")
    assert dispatcher.call(id_).json() == {"result": "0"}
    assert dispatcher.ask("PATCH", f"/api/functions/{id_}", json={"env": {"ANSWER": "1"}}).ok
    live.until(lambda: dispatcher.call(id_).json() == {"result": "1"}, "the next change")
