"""A plain function: its parameters are the arguments, converted by their annotations."""


def greet(name: str, times: int = 1) -> list[str]:
    """Greet somebody a few times."""
    return [f"Hello {name}!"] * times
