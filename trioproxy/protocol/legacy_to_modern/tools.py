"""Tools of the modern era in the shape that a legacy client can read.

2026-07-28, Tools §Output Schema, lets an `outputSchema` be any JSON Schema, and `structuredContent` any JSON value.  Until
2025-11-25 both are objects, and a client that validates refuses a whole `tools/list` for one schema that is not.  So

    outputSchema          that is not of type object becomes {"type": "object", "properties": {"result": …}}
    structuredContent     of such a tool, or that is no object, becomes {"result": …}
    properties            in both schemas: `true` becomes {}, and `false` {"not": {}}, which mean the same and are objects

Within a schema that moves, references that start at its root (`#/$defs/…`) get the new way there, and `$schema`, which
belongs at the root, moves to the new one.  Tools that a server offers to a model in `sampling/createMessage` are of the
same shape, and are treated in the same way.

The clients before 2025-06-18 know neither member; a member more does them no harm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from ..splice import REMOVE, Path, cut_out, splice
from .introduction import Edits

_WRAPPED_AT: Final = "#/properties/result"
_DATA: Final = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas, and may contain a `$ref` that is none."""
_NAMED: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose values are schemas under names that are no keywords."""


def wrap(value: bytes) -> bytes:
    """Return a value, as JSON, in the object that stands for it."""
    return b'{"result":' + value + b"}"


def needs_wrap(tool: Any) -> bool:
    """Return whether the results of a tool are wrapped: it has a schema for them, and not of an object."""
    schema = tool.get("outputSchema") if type(tool) is dict else None
    return type(schema) is dict and schema.get("type") != "object"


def tool_edits(raw: bytes, path: Path, tools: Any) -> Edits:
    """Return what is to change in the array of tools at `path` of the message `raw`.

    Args:
      tools: the array, decoded.
    """
    edits: Edits = {}
    for index, tool in enumerate(tools if type(tools) is list else ()):
        if type(tool) is not dict:
            continue
        for name in ("inputSchema", "outputSchema"):
            place = (*path, index, name)
            if name == "outputSchema" and needs_wrap(tool):
                edits[place] = _wrap_schema(cut_out(raw, place) or b"{}", tool[name])
            elif type(tool.get(name)) is dict:
                edits.update(_boolean_edits(place, tool[name].get("properties")))
    return edits


def sampling_edits(raw: bytes, path: Path, params: dict[str, Any]) -> Edits:
    """Return what is to change in the `params` of a `sampling/createMessage`, which are at `path` of the message `raw`."""
    edits = tool_edits(raw, (*path, "tools"), params.get("tools"))
    messages = params.get("messages")
    for index, message in enumerate(messages if type(messages) is list else ()):
        content = message.get("content") if type(message) is dict else None
        place: Path = (*path, "messages", index, "content")
        blocks = [((*place, at), block) for at, block in enumerate(content)] if type(content) is list else [(place, content)]
        for at, block in blocks:
            if type(block) is dict and block.get("type") == "tool_result" and "structuredContent" in block:
                value_at = (*at, "structuredContent")
                if type(block["structuredContent"]) is not dict:
                    edits[value_at] = wrap(cut_out(raw, value_at) or b"null")
    return edits


def _boolean_edits(place: Path, properties: Any) -> Edits:
    objects = {True: b"{}", False: b'{"not":{}}'}
    members = properties.items() if type(properties) is dict else ()
    return {(*place, "properties", name): objects[value] for name, value in members if type(value) is bool}


def _wrap_schema(raw: bytes, schema: dict[str, Any]) -> bytes:
    edits: Edits = {path: json.dumps(_WRAPPED_AT + ref[1:]).encode() for path, ref in _root_references(schema)}
    dialect = cut_out(raw, ("$schema",))
    start = b"{"
    if dialect is not None:
        edits["$schema",] = REMOVE
        start = b'{"$schema":' + dialect + b","
    return start + b'"type":"object","properties":' + wrap(splice(raw, edits)) + b',"required":["result"]}'


def _root_references(schema: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield where in a schema a reference starts at the schema's root, and what it says.

    A subschema with an `$id` is a root of its own (JSON Schema 2020-12, Core §8.2.1), and a reference by an anchor finds its
    target wherever that is.
    """
    rest: list[tuple[Path, Any, bool]] = [((), schema, False)]
    while rest:
        path, value, is_named = rest.pop()
        if type(value) is list:
            rest += [((*path, index), element, False) for index, element in enumerate(value)]
        elif type(value) is dict:
            if not is_named and type(value.get("$id")) is str and not value["$id"].startswith("#"):
                continue
            for name, member in value.items():
                if is_named:
                    rest.append(((*path, name), member, False))
                elif name in ("$ref", "$dynamicRef") and type(member) is str:
                    if member == "#" or member.startswith("#/"):
                        yield (*path, name), member
                elif name not in _DATA:
                    rest.append(((*path, name), member, name in _NAMED))
