from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import House


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Build houses with options; all are closed at the end."""
    houses: list[House] = []

    def make(**options: object) -> House:
        houses.append(House(tmp_path / "snippets", **options))  # type: ignore[arg-type]
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """A dispatcher on a fake Marathon."""
    return make_house()
