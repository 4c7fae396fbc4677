"""A function's OpenAPI document as a person reads it in a terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

OURS = ("plain", "script")  # conventions whose arguments the document has


def text(document: Mapping[str, Any]) -> str:
    """What to call the function with, and what it answers."""
    info, about = document["info"], document["x-fob"]
    parts = [f"{info['title']}: {about['signature']}", info.get("description", "").strip()]
    if about["convention"] in OURS:
        parts += _contract(document)
    else:
        parts.append(f"{about['why']}.")
    return "\n\n".join(filter(None, parts))


def _contract(document: Mapping[str, Any]) -> Iterator[str]:
    """The arguments, the result, and the classes in them."""
    post = document["paths"]["/"]["post"]
    yield _section("arguments", _arguments(post))
    answer = post["responses"]["200"]["content"].get("application/json")
    result = answer["schema"]["properties"]["result"] if answer else {}
    yield f"result: {words(result) if answer else 'bytes'}"
    for name, schema in document["components"]["schemas"].items():
        if name != "Error":
            yield _section(name, _class(schema))


def _arguments(post: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    content = post["requestBody"]["content"]
    if "application/json" not in content:
        yield "the body", "bytes", "as it is"
    else:
        yield from _fields(content["application/json"]["schema"])


def _class(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The lines of a class: its fields, or in one line what it is."""
    if "properties" in schema:
        yield from _fields(schema)
    else:
        yield words({k: v for k, v in schema.items() if k != "title"}), "", ""


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        kind = words(field)
        if name in required:
            kind += ", required"
        elif "default" in field:
            kind += f", default {json.dumps(field['default'], ensure_ascii=False)}"
        yield name, kind, field.get("description", "")


def _section(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """A title with lines below it, in columns."""
    rows = list(rows) or [("none", "", "")]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {name:{first}}  {kind:{second}}  {said}".rstrip() for name, kind, said in rows]
    return "\n".join([f"{title}:", *lines])


def words(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(words(member) for member in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return kind + _inside(schema)


def _inside(schema: Mapping[str, Any]) -> str:
    """What a list or an object holds, or a text has to look like."""
    if schema.get("items"):
        return f" of {words(schema['items'])}"
    if "prefixItems" in schema:
        return f" of {', '.join(words(item) for item in schema['prefixItems'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f" of {words(schema['additionalProperties'])}"
    form = schema.get("format") or schema.get("contentEncoding")
    return f" ({form})" if form else ""
