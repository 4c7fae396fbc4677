"""A function's OpenAPI document as text for a terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# conventions whose parameters the document describes
DESCRIBED = ("plain", "script")


def text(document: Mapping[str, Any]) -> str:
    """Return signature, parameters and result of the function."""
    info, about = document["info"], document["x-fob"]
    paragraphs = [f"{info['title']}: {about['signature']}", info.get("description", "").strip()]
    if about["convention"] in DESCRIBED:
        paragraphs += _contract(document)
    else:
        paragraphs.append(f"{about['why']}.")
    return "\n\n".join(filter(None, paragraphs))


def _contract(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arguments, the result, and the classes they use."""
    post = document["paths"]["/"]["post"]
    yield _section("arguments", _arguments(post))
    content = post["responses"]["200"]["content"].get("application/json")
    result = content["schema"]["properties"]["result"] if content else {}
    yield f"result: {kind_of(result) if content else 'bytes'}"
    for name, schema in document["components"]["schemas"].items():
        if name != "Error":
            yield _section(name, _class(schema))


def _arguments(post: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    content = post["requestBody"]["content"]
    if "application/json" not in content:
        yield "the body", "bytes", "unchanged"
    else:
        yield from _fields(content["application/json"]["schema"])


def _class(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a class, or its kind if it has none."""
    if "properties" in schema:
        yield from _fields(schema)
    else:
        yield kind_of({k: v for k, v in schema.items() if k != "title"}), "", ""


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        kind = kind_of(field)
        if name in required:
            kind += ", required"
        elif "default" in field:
            kind += f", default {json.dumps(field['default'], ensure_ascii=False)}"
        yield name, kind, field.get("description", "")


def _section(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """Return a title and the rows below it, in columns."""
    rows = list(rows) or [("none", "", "")]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {name:{first}}  {kind:{second}}  {text}".rstrip() for name, kind, text in rows]
    return "\n".join([f"{title}:", *lines])


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind_of(member) for member in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return kind + _inside(schema)


def _inside(schema: Mapping[str, Any]) -> str:
    """Return the kind of the items of a list or object, or the format of a string."""
    if schema.get("items"):
        return f" of {kind_of(schema['items'])}"
    if "prefixItems" in schema:
        return f" of {', '.join(kind_of(item) for item in schema['prefixItems'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f" of {kind_of(schema['additionalProperties'])}"
    form = schema.get("format") or schema.get("contentEncoding")
    return f" ({form})" if form else ""
