from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_service import LocalService


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., LocalService]]:
    """Start services with options; all are closed at the end of the test."""
    services: list[LocalService] = []

    def make(**options: object) -> LocalService:
        services.append(LocalService(tmp_path / "snippets", **options))  # type: ignore[arg-type]
        return services[-1]

    yield make
    for service in services:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., LocalService]) -> LocalService:
    """A dispatcher on a fake Marathon."""
    return make_service()
