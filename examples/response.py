"""A whole response without an import: a tuple of body, status and headers."""


def page(name: str = "world") -> tuple[str, int, dict[str, str]]:
    return f"<h1>Hello {name}</h1>", 201, {"Content-Type": "text/html; charset=utf-8"}
