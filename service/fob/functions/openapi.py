"""A function as an OpenAPI 3.1 document, made of what its runner tells of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

BINARY = "application/octet-stream"
# conventions whose parameters and results fob knows
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
    title: str, sha256: str, told: Mapping[str, Any], servers: Iterable[str]
) -> dict[str, Any]:
    """The document for a function.

    `title` is its name or id, `sha256` that of its file, `told` the answer to `OPTIONS *`, and
    `servers` are the URLs where it can be called.
    """
    components: dict[str, Schema] = {"Error": _ERROR}
    takes = _moved(told["parameters"] or {}, components)
    gives = _moved(told["returns"] or {}, components)
    ours = told["convention"] in OURS
    answers = _responses(gives if ours else None)
    calls = _calls(takes, components) if ours else _any_call()
    about = {"summary": told["signature"], "responses": answers}
    return {
        "openapi": "3.1.0",
        "info": _info(title, sha256, told),
        "servers": [{"url": url} for url in servers],
        "paths": {"/": {method: call | about for method, call in calls}},
        "components": {"schemas": components},
        "x-fob": {key: told[key] for key in ("entry", "convention", "why", "signature")},
    }


def _info(title: str, sha256: str, told: Mapping[str, Any]) -> dict[str, str]:
    info = {"title": title, "summary": told["signature"], "version": sha256[:12]}
    return info | ({"description": told["doc"]} if told["doc"] else {})


def _any_call() -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls of a function that sees to its requests itself."""
    yield "get", {"operationId": "get"}
    yield "post", {"operationId": "post", "requestBody": {"content": {"*/*": {}}}}


def _calls(takes: Schema, components: Mapping[str, Schema]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ways to call a function with its arguments: in a query if all are simple, in a body."""
    properties: dict[str, Schema] = takes.get("properties", {})
    required = takes.get("required", [])
    raw = [name for name, schema in properties.items() if schema.get("contentMediaType") == BINARY]
    simple = {n: s for n, s in properties.items() if n not in raw and _is_simple(s, components)}
    query = [_query(name, schema, name in required) for name, schema in simple.items()]
    if len(simple) == len(properties):
        yield "get", {"operationId": "get", "parameters": query}
    content: dict[str, Any] = {"application/json": {"schema": takes}}
    post: dict[str, Any] = {"operationId": "post"}
    if raw:  # its bytes are the body, and the others go into the query
        content = {BINARY: {}} | (content if len(properties) > 1 else {})
        post["parameters"] = [parameter | {"required": False} for parameter in query]
    yield "post", post | {"requestBody": {"required": bool(required), "content": content}}


def _query(name: str, schema: Schema, required: bool) -> dict[str, Any]:
    said = {key: value for key, value in schema.items() if key == "description"}
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "required": required, "schema": rest} | said


def _is_simple(schema: Schema, components: Mapping[str, Schema], inside: bool = False) -> bool:
    """Whether text in a query says it well: a single value, or a list of such values."""
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
    """The answers of a call; `result` is None when the function makes them itself."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    content = {"*/*": {}} if result is None else _success(result)
    return {
        "200": {"description": "What it answers", "content": content},
        "400": {"description": "Arguments are missing, unknown or wrong", "content": error},
        "500": {"description": "The function failed", "content": error},
        "default": {"description": "It did not come to a call, or to its end", "content": error},
    }


def _success(result: Schema) -> dict[str, Any]:
    if result == {"type": "string", "contentEncoding": "base64"}:
        return {BINARY: {}}  # bytes are answered as they are
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
    """The schema with its definitions moved to `components`; a different one of the same name
    that is there already makes all of them get other names."""
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
    """`value` with its references leading to `components`, all names ending in `suffix`."""
    if isinstance(value, dict):
        return {key: _renamed(item, suffix) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, suffix) for item in value]
    if isinstance(value, str) and value.startswith(_REF):
        return f"#/components/schemas/{value[len(_REF) :]}{suffix}"
    return value
