"""Errors in words, for responses and for the log."""

from __future__ import annotations

from fob.runner.core.output import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Tracebacks:
    """Shows errors without the runner's own frames.

    The snippet's are those in `file`, and in `folder` unless that is "".
    """

    def __init__(self, file: str, folder: str) -> None:
        self.file, self.folder = file, folder

    def content(self, error: BaseException) -> dict[str, Any]:
        """The JSON content of the response to a call that raised."""
        kind, message = type(error).__name__, words(error)
        details = {"type": kind, "message": message, "traceback": self._lines(error)}
        text = f"{kind}: {message}" if message else kind
        return {"error": {"code": "exception", "message": text, "details": details}}

    def text(self, error: BaseException) -> str:
        """The traceback as Python prints it."""
        import traceback

        try:
            lines = traceback.format_exception(type(error), error, self._frames(error))
            return "".join(lines).replace(self.folder, "")
        except Exception:  # noqa: BLE001 - the snippet's own __str__ and __repr__
            return f"{type(error).__name__} (and it cannot be printed)\n"

    def _is_own(self, file: str) -> bool:
        return file == self.file or (self.folder != "" and file.startswith(self.folder))

    def _frames(self, error: BaseException) -> Any:
        """The traceback from the snippet's first frame on; None if it has none."""
        entry = error.__traceback__
        while entry and not self._is_own(entry.tb_frame.f_code.co_filename):
            entry = entry.tb_next
        return entry

    def _lines(self, error: BaseException) -> list[str]:
        import linecache

        lines, entry = [], self._frames(error)
        while entry:
            frame = entry.tb_frame
            file = frame.f_code.co_filename
            if self._is_own(file):
                source = linecache.getline(file, entry.tb_lineno, frame.f_globals).strip()
                where = f"{file[len(self.folder) :]} line" if self.folder else "line"
                lines.append(f"{where} {entry.tb_lineno}, in {frame.f_code.co_name}: {source}")
            entry = entry.tb_next
        return lines[-100:]


def words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the snippet's own __str__
        return "(its __str__ failed)"


def not_json(result: Any, error: Exception) -> dict[str, Any]:
    """The content of the response for a result that is not JSON; logged too."""
    kind = type(result).__name__
    message = f"the function returned a {kind} that JSON cannot represent: {words(error)}"
    log(message + "\n")
    return {"error": {"code": "not_json", "message": message, "details": {"type": kind}}}


def import_hint(error: BaseException, standard: frozenset[str]) -> str:
    """What to do about a missing module; `standard` are the names of the standard library."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or name in standard:
        return ""
    lines = f'# /// script\n# dependencies = ["{name}"]\n# ///'
    return f"; if {name} is a package, put these lines into the file:\n{lines}"
