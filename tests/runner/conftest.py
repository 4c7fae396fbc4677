"""A real runner process for each test, on a socket the test has bound."""

from pathlib import Path

import pytest

from running import PROGRAM, Command, Runner, Start, launch, run_program

__all__ = ["launch"]


@pytest.fixture
def serve(launch: Start) -> Start:
    """Start a runner and wait until it serves."""

    def serve(snippet: str | bytes, command: list[str] | None = None, **env: str) -> Runner:
        runner = launch(snippet, command, **env)
        assert runner.wait_for("listening"), runner.stderr
        return runner

    return serve


@pytest.fixture
def patched(tmp_path: Path) -> Command:
    """Make the command of a runner with other constants, so that tests wait less."""

    def patched(**constants: float) -> list[str]:
        lines = PROGRAM.decode().splitlines()
        for name, value in constants.items():
            index = next(i for i, line in enumerate(lines) if line.startswith(f"{name}="))
            lines[index] = f"{name}={value}"
        folder = tmp_path / "patched"
        folder.mkdir()
        return run_program(folder, "\n".join(lines).encode())

    return patched
