"""A function as an OpenAPI 3.1 document, made from its runner's description of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

BINARY = "application/octet-stream"
# Conventions whose parameters and results fob knows.
OURS = ("plain", "script")
_REF = "#/$defs/"
_SIMPLE = {"string", "integer", "number", "boolean", "null"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {},
            },
        },
        "output": {"type": "string", "description": "what the call printed"},
    },
}


def document(
    title: str, sha256: str, description: Mapping[str, Any], servers: Iterable[str]
) -> dict[str, Any]:
    """Return the document of a function.

    `title` is its name or id, `sha256` the digest of its file, `description` the JSON with which
    its runner responds to `OPTIONS *`, and `servers` are the URLs at which it can be called.
    """
    components: dict[str, Schema] = {"Error": _ERROR}
    parameters = _moved(description["parameters"] or {}, components)
    result = _moved(description["returns"] or {}, components)
    ours = description["convention"] in OURS
    calls = _calls(parameters, components) if ours else _any_call()
    responses = _responses(result if ours else None)
    common = {"summary": description["signature"], "responses": responses}
    return {
        "openapi": "3.1.0",
        "info": _info(title, sha256, description),
        "servers": [{"url": url} for url in servers],
        "paths": {"/": {method: call | common for method, call in calls}},
        "components": {"schemas": components},
        "x-fob": {key: description[key] for key in ("entry", "convention", "why", "signature")},
    }


def _info(title: str, sha256: str, description: Mapping[str, Any]) -> dict[str, str]:
    info = {"title": title, "summary": description["signature"], "version": sha256[:12]}
    return info | ({"description": description["doc"]} if description["doc"] else {})


def _any_call() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the operations of a function that parses its requests itself."""
    yield "get", {"operationId": "get"}
    yield "post", {"operationId": "post", "requestBody": {"content": {"*/*": {}}}}


def _calls(
    parameters: Schema, components: Mapping[str, Schema]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the operations: GET with arguments in the query if all are simple, POST with a body."""
    properties: dict[str, Schema] = parameters.get("properties", {})
    required = parameters.get("required", [])
    raw = [name for name, schema in properties.items() if schema.get("contentMediaType") == BINARY]
    simple = {n: s for n, s in properties.items() if n not in raw and _is_simple(s, components)}
    query = [_query(name, schema, name in required) for name, schema in simple.items()]
    if len(simple) == len(properties):
        yield "get", {"operationId": "get", "parameters": query}
    content: dict[str, Any] = {"application/json": {"schema": parameters}}
    post: dict[str, Any] = {"operationId": "post"}
    if raw:  # its bytes are the body, and the other arguments go into the query
        content = {BINARY: {}} | (content if len(properties) > 1 else {})
        post["parameters"] = [parameter | {"required": False} for parameter in query]
    yield "post", post | {"requestBody": {"required": bool(required), "content": content}}


def _query(name: str, schema: Schema, required: bool) -> dict[str, Any]:
    described = {key: value for key, value in schema.items() if key == "description"}
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "required": required, "schema": rest} | described


def _is_simple(schema: Schema, components: Mapping[str, Schema], inside: bool = False) -> bool:
    """Whether it fits into a query: a single value, or a list of single values."""
    if "$ref" in schema:
        target = components[schema["$ref"].rpartition("/")[2]]
        return "enum" in target and _is_simple(target, components, inside)
    if "anyOf" in schema:
        return all(_is_simple(member, components, inside) for member in schema["anyOf"])
    if "enum" in schema:
        return not any(isinstance(value, dict | list) for value in schema["enum"])
    if schema.get("type") == "array":
        return not inside and _is_simple(schema.get("items", {}), components, inside=True)
    kinds = schema.get("type", "string")
    return _SIMPLE.issuperset([kinds] if isinstance(kinds, str) else kinds)


def _responses(result: Schema | None) -> dict[str, Any]:
    """Return the responses of a call; `result` is None if the function makes them itself."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    content = {"*/*": {}} if result is None else _success(result)
    return {
        "200": {"description": "The function's result", "content": content},
        "400": {"description": "Arguments are missing, unknown or wrong", "content": error},
        "500": {"description": "The function failed", "content": error},
        "default": {"description": "The call did not begin, or did not end", "content": error},
    }


def _success(result: Schema) -> dict[str, Any]:
    if result == {"type": "string", "contentEncoding": "base64"}:
        return {BINARY: {}}  # bytes are the body, unencoded
    schema = {
        "type": "object",
        "required": ["result"],
        "properties": {
            "result": result,
            "output": {"type": "string", "description": "what the call printed"},
            "output_truncated": {"const": True, "description": "it printed more"},
        },
    }
    return {"application/json": {"schema": schema}}


def _moved(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return the schema with its definitions moved to `components`.

    If `components` has a different definition of the same name, all of them are renamed.
    """
    definitions: dict[str, Schema] = schema.get("$defs", {})
    suffix = ""
    while any(
        components.get(name + suffix, moved) != moved
        for name, moved in _renamed(definitions, suffix).items()
    ):
        suffix += "_"
    for name, moved in _renamed(definitions, suffix).items():
        components[name + suffix] = moved
    body = {key: value for key, value in schema.items() if key not in ("$schema", "$defs")}
    return dict(_renamed(body, suffix))


def _renamed(value: Any, suffix: str) -> Any:
    """Return `value` with its references pointing to `components`, `suffix` added to the names."""
    if isinstance(value, dict):
        return {key: _renamed(item, suffix) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, suffix) for item in value]
    if isinstance(value, str) and value.startswith(_REF):
        return f"#/components/schemas/{value[len(_REF) :]}{suffix}"
    return value
