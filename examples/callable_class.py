"""A class whose instances can be called: one is made at the start, and keeps what it knows."""


class Handler:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, word: str) -> list[str]:
        self.seen.append(word)
        return self.seen


handler = Handler()
