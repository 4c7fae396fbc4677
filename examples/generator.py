"""A generator: the answer is streamed, one line of JSON for each dict."""

from collections.abc import Iterator


def squares(up_to: int) -> Iterator[dict[str, int]]:
    for n in range(up_to):
        yield {"n": n, "square": n * n}
