"""Errors of the engine's API, with Marathon's status codes and messages."""

from typing import Any

UNDEFINED = " is undefined on object: "  # in the error of a missing key, which repeats the object


class ApiError(Exception):
    """An HTTP status and a JSON body in Marathon's shape: `{"message": ...}` plus `extra`."""

    def __init__(self, status: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **extra}


def app_not_found(app_id: str) -> ApiError:
    return ApiError(404, f"App '{app_id}' does not exist")


def invalid(details: list[dict[str, Any]]) -> ApiError:
    """422; `details` is a list of `{"path": "/cpus", "errors": ["..."]}`.

    Marathon's message is "Invalid JSON" when any value is missing, has the wrong type or is out of
    range.
    """
    unread = any(is_unread(error) for each in details for error in each["errors"])
    return ApiError(422, "Invalid JSON" if unread else "Object is not valid", details=details)


def is_unread(error: str) -> bool:
    """Whether the error is one of Marathon's for a value that it could not read."""
    return error.startswith("error.") or UNDEFINED in error


def invalid_timestamp(text: str) -> ApiError:
    message = f"Invalid timestamp provided '{text}'. Expecting ISO-8601 datetime string."
    return ApiError(422, message)


def app_exists(app_id: str) -> ApiError:
    return ApiError(409, f"An app with id [{app_id}] already exists.")


def app_locked(deployment_ids: list[str]) -> ApiError:
    return ApiError(
        409,
        "App is locked by one or more deployments. Override with the option '?force=true'. "
        "View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
        deployments=[{"id": id_} for id_ in deployment_ids],
    )
