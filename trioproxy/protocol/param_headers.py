"""Arguments of a tool that a client repeats in headers, `Mcp-Param-…` (2026-07-28, Streamable HTTP §Custom Headers).

A tool may ask for it: where a property of its `inputSchema` is annotated with `x-mcp-header`, the argument of that name
is to stand in a header too, for those who route by it.  Here is what a schema asks for, and whether a call does as it asks.

A tool whose annotations are invalid is one that its clients "MUST exclude", so nothing is asked of a call to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from .errors import HeaderMismatch
from .header_values import HeaderValues, decode_header_value, encode_header_value, shown, single_value

ANNOTATION: Final = "x-mcp-header"
PREFIX: Final = "Mcp-Param-"


class InvalidAnnotation(ValueError):
    """An `x-mcp-header` that makes the definition of its tool invalid."""


class ParamHeader(NamedTuple):
    """An argument that goes into a header.

    Attributes:
      name: the name of the header without `Mcp-Param-`, as the schema has it.
      path: the names of the properties that lead to the argument.
      type: "string", "integer" or "boolean".
    """

    name: str
    path: tuple[str, ...]
    type: str


_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TYPES: Final = ("string", "integer", "boolean")
# Where a schema has others in it, beside `properties`: one or a list of them, or some by name (JSON Schema 2020-12, and what
# draft-07 had besides).  Other keywords have data, such as a `default`, and what looks like an annotation there is none.
_OF_ARRAYS: Final = ("additionalItems", "contains", "items", "prefixItems", "unevaluatedItems")
_OF_OBJECTS: Final = ("additionalProperties", "propertyNames", "unevaluatedProperties")
_OF_COMPOSITIONS: Final = ("allOf", "anyOf", "else", "if", "not", "oneOf", "then")
_SCHEMAS: Final = frozenset((*_OF_ARRAYS, *_OF_OBJECTS, *_OF_COMPOSITIONS, "contentSchema"))
_SCHEMAS_BY_NAME: Final = frozenset(("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties"))


def find_param_headers(input_schema: Any) -> tuple[ParamHeader, ...]:
    """Return which arguments of a tool go into headers.

    Raises:
      InvalidAnnotation: an `x-mcp-header` breaks one of the constraints of Tools §x-mcp-header.
    """
    found: dict[str, ParamHeader] = {}
    # Each schema with the properties that lead to it, None where something else leads to it.  The list grows as we go.
    schemas: list[tuple[tuple[str, ...] | None, Any]] = [((), input_schema)]
    for path, schema in schemas:
        if type(schema) is not dict:
            continue
        if ANNOTATION in schema:
            header = _annotated(schema, path)
            first = found.setdefault(header.name.lower(), header)
            if first is not header:
                raise InvalidAnnotation(f"{ANNOTATION} {shown(header.name)} is on {_dotted(first)} and on {_dotted(header)}")
        for keyword, value in schema.items():
            if keyword == "properties" and type(value) is dict:
                schemas += [(None if path is None else (*path, name), inner) for name, inner in value.items()]
            elif keyword in _SCHEMAS:
                schemas += [(None, inner) for inner in (value if type(value) is list else [value])]
            elif keyword in _SCHEMAS_BY_NAME and type(value) is dict:
                schemas += [(None, inner) for inner in value.values()]
    return tuple(found.values())


def check_param_headers(headers: Sequence[ParamHeader], arguments: Mapping[str, Any], values: HeaderValues) -> None:
    """Check that a call's headers say what its arguments say.

    §Server Behavior for Custom Headers: a value is in both and is the same, or is in neither; `null` counts as none.

    Args:
      headers: what `find_param_headers` found for the tool that is called.
      arguments: `params.arguments` of the call.

    Raises:
      HeaderMismatch: one of them does not.
    """
    for header in headers:
        name = PREFIX + header.name
        value = _argument(arguments, header.path)
        raw = single_value(values, name)
        if raw is None and value is None:
            continue
        if raw is None:
            raise HeaderMismatch(f"Header mismatch: {name} header is missing; argument {_dotted(header)} is {shown(value)}")
        said = decode_header_value(name, raw)
        if value is None:
            raise HeaderMismatch(f"Header mismatch: {name} header value {shown(said)}, but no argument {_dotted(header)}")
        if not _is_same(said, value, header.type):
            where = f"argument {_dotted(header)}, {shown(value)}"
            raise HeaderMismatch(f"Header mismatch: {name} header value {shown(said)} does not match {where}")


def mirror_arguments(headers: Sequence[ParamHeader], arguments: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers that a call of a tool repeats its arguments in (§Client Behavior).

    Where there is no argument, or `null`, there is no header; nor is there one for what no header can say: an object, or
    text that UTF-8 has no bytes for.
    """
    mirrored = []
    for header in headers:
        value = _argument(arguments, header.path)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, float):
            value = json.dumps(value)
        if isinstance(value, str | int):
            try:
                mirrored.append(((PREFIX + header.name).encode(), encode_header_value(value).encode()))
            except UnicodeEncodeError:
                continue
    return mirrored


def _annotated(schema: dict[str, Any], path: tuple[str, ...] | None) -> ParamHeader:
    name, kind = schema[ANNOTATION], schema.get("type")
    if not path:
        # "reachable via a chain consisting solely of properties keys" (§Schema Extension)
        raise InvalidAnnotation(f"{ANNOTATION} {shown(name)} is not on a property that properties alone lead to")
    where = ".".join(path)
    if type(name) is not str or not _TOKEN.fullmatch(name):
        raise InvalidAnnotation(f"{ANNOTATION} of {where} has to be a token (RFC 9110 §5.6.2); this is {shown(name)}")
    if kind not in _TYPES:
        raise InvalidAnnotation(f"{ANNOTATION} is for one of {', '.join(_TYPES)}; the type of {where} is {shown(kind)}")
    return ParamHeader(name, path, kind)


def _argument(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


_WHOLE_NUMBER: Final = re.compile(r"(-?[0-9]{1,400})(?:\.0+)?")


def _is_same(said: str, value: Any, kind: str) -> bool:
    if isinstance(value, str):
        return said == value
    if not isinstance(value, bool | int | float):
        return False
    # "servers SHOULD compare the header value and the body value numerically rather than as strings" (§Server Validation)
    if kind == "integer" and not isinstance(value, bool) and (number := _WHOLE_NUMBER.fullmatch(said)):
        return int(number[1]) == value
    return said == json.dumps(value)


def _dotted(header: ParamHeader) -> str:
    return ".".join(header.path)
