"""What a tool's schema asks to have in headers, and whether a call does as it asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.errors import HeaderMismatch
from trioproxy.protocol.header_values import HeaderValues, encode_header_value
from trioproxy.protocol.param_headers import (
    InvalidAnnotation,
    ParamHeader,
    check_param_headers,
    find_param_headers,
    mirror_arguments,
)

# 2026-07-28, Tools §x-mcp-header.
EXECUTE_SQL = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "description": "The region to execute the query in", "x-mcp-header": "Region"},
        "query": {"type": "string", "description": "The SQL query to execute"},
    },
    "required": ["region", "query"],
}
REGION = ParamHeader("Region", ("region",), "string")
PRIORITY = ParamHeader("Priority", ("priority",), "integer")
DRY_RUN = ParamHeader("Dry-Run", ("options", "dry"), "boolean")


def sent(*headers: tuple[bytes, bytes]) -> HeaderValues:
    return lambda name: [value for key, value in headers if key == name]


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_an_annotated_property_goes_into_a_header() -> None:
    """The example of Tools §x-mcp-header."""
    assert find_param_headers(EXECUTE_SQL) == (REGION,)


def test_a_property_within_an_object_is_found_by_its_path() -> None:
    """Streamable HTTP §Schema Extension: "Nested object properties are permitted"."""
    nested = schema(options=schema(dry={"type": "boolean", "x-mcp-header": "Dry-Run"}), priority={"type": "integer"})
    nested["properties"]["priority"]["x-mcp-header"] = "Priority"
    assert find_param_headers(nested) == (PRIORITY, DRY_RUN)


@pytest.mark.parametrize("nothing", [None, True, [], "schema", {}, {"type": "object"}, schema(), schema(a=True)])
def test_a_schema_without_annotations_asks_for_nothing(nothing: Any) -> None:
    assert find_param_headers(nothing) == ()


def test_what_only_looks_like_an_annotation_is_none() -> None:
    """A property may have that name, and data may have it, too."""
    looks = {"x-mcp-header": "Region"}
    assert find_param_headers(schema(**{"x-mcp-header": {"type": "string"}})) == ()
    assert find_param_headers(schema(a={"default": looks, "const": looks, "enum": [looks], "examples": [looks]})) == ()
    assert find_param_headers({"$defs": {"x-mcp-header": {"type": "string"}}}) == ()


@pytest.mark.parametrize("name", ["", "My Region", "Region\r\n", "Region\x00", "Région", "a:b", "(a)", 5, None, ["a"], {}])
def test_a_name_that_no_header_can_have_is_invalid(name: Any) -> None:
    """Streamable HTTP §Schema Extension: "MUST NOT be empty", "MUST match HTTP field-name token syntax"."""
    with pytest.raises(InvalidAnnotation, match="of region has to be a token"):
        find_param_headers(schema(region={"type": "string", "x-mcp-header": name}))


def test_a_name_may_have_every_character_of_a_token() -> None:
    """RFC 9110 §5.6.2."""
    name = "!#$%&'*+-.^_`|~09azAZ"
    assert find_param_headers(schema(a={"type": "string", "x-mcp-header": name})) == (ParamHeader(name, ("a",), "string"),)


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", None, 7, ["string"], ["string", "null"], {}])
def test_a_property_that_is_not_primitive_can_not_go_into_a_header(kind: Any) -> None:
    """Streamable HTTP §Schema Extension: "Parameters with type number are not permitted"."""
    with pytest.raises(InvalidAnnotation, match="is for one of string, integer, boolean; the type of region is"):
        find_param_headers(schema(region={"type": kind, "x-mcp-header": "Region"}))


def test_a_property_without_a_type_can_not_go_into_a_header() -> None:
    with pytest.raises(InvalidAnnotation, match="the type of region is null"):
        find_param_headers(schema(region={"x-mcp-header": "Region"}))


def test_two_properties_can_not_go_into_the_same_header_however_it_is_written() -> None:
    """Streamable HTTP §Schema Extension: "MUST be case-insensitively unique"."""
    first, second = {"type": "string", "x-mcp-header": "Region"}, {"type": "string", "x-mcp-header": "REGION"}
    with pytest.raises(InvalidAnnotation, match="'REGION' is on a and on b"):
        find_param_headers(schema(a=first, b=second))
    with pytest.raises(InvalidAnnotation, match=r"'REGION' is on a and on deep\.b"):
        find_param_headers(schema(deep=schema(b=second), a=first))


ANNOTATED = {"type": "string", "x-mcp-header": "Region"}


@pytest.mark.parametrize(
    "elsewhere",
    [
        ANNOTATED,
        schema(list={"type": "array", "items": ANNOTATED}),
        schema(list={"type": "array", "items": [ANNOTATED]}),
        schema(list={"type": "array", "prefixItems": [ANNOTATED]}),
        schema(list={"type": "array", "contains": ANNOTATED}),
        schema(list={"type": "array", "items": schema(region=ANNOTATED)}),
        {"oneOf": [schema(region=ANNOTATED)]},
        {"anyOf": [{}, schema(region=ANNOTATED)]},
        {"allOf": [schema(region=ANNOTATED)]},
        {"not": schema(region=ANNOTATED)},
        {"if": schema(region=ANNOTATED)},
        {"then": schema(region=ANNOTATED)},
        {"else": schema(region=ANNOTATED)},
        {"properties": {"a": {"$ref": "#/$defs/region"}}, "$defs": {"region": ANNOTATED}},
        {"definitions": {"region": ANNOTATED}},
        {"additionalProperties": ANNOTATED},
        {"patternProperties": {"^r": ANNOTATED}},
        {"dependentSchemas": {"a": schema(region=ANNOTATED)}},
        {"dependencies": {"a": ["b"], "c": schema(region=ANNOTATED)}},
        schema(region={"anyOf": [ANNOTATED, {"type": "null"}]}),
    ],
)
def test_an_annotation_where_no_chain_of_properties_leads_to_is_invalid(elsewhere: dict[str, Any]) -> None:
    """Streamable HTTP §Schema Extension: "An x-mcp-header annotation anywhere else makes … the tool definition invalid"."""
    with pytest.raises(InvalidAnnotation, match="not on a property that properties alone lead to"):
        find_param_headers(elsewhere)


def test_a_schema_may_be_as_deep_as_json_can_be() -> None:
    deep: dict[str, Any] = {"type": "string", "x-mcp-header": "Region"}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    assert find_param_headers(deep) == (ParamHeader("Region", ("a",) * 5000, "string"),)


@pytest.mark.parametrize(
    ("header", "arguments", "value"),
    [
        (REGION, {"region": "us-west1", "query": "SELECT * FROM users"}, b"us-west1"),
        (REGION, {"region": "us-west1"}, b"  us-west1\t"),
        (REGION, {"region": "Hello"}, b"=?base64?SGVsbG8=?="),
        (REGION, {"region": "SGVsbG8="}, b"SGVsbG8="),
        (REGION, {"region": "=?base64?SGVsbG8="}, b"=?base64?SGVsbG8="),
        (REGION, {"region": "Hello, 世界"}, b"=?base64?SGVsbG8sIOS4lueVjA==?="),
        (REGION, {"region": ""}, b""),
        (PRIORITY, {"priority": 42}, b"42"),
        (PRIORITY, {"priority": 42}, b"42.0"),
        (PRIORITY, {"priority": 42.0}, b"42"),
        (PRIORITY, {"priority": -7}, b"-7"),
        (PRIORITY, {"priority": 0}, b"-0"),
        (PRIORITY, {"priority": 2**53 + 1}, b"9007199254740993"),
        (DRY_RUN, {"options": {"dry": True}}, b"true"),
        (DRY_RUN, {"options": {"dry": False}}, b"false"),
        # Not what the schema wants; that is for the server to say, and header and body agree.
        (PRIORITY, {"priority": "high"}, b"high"),
        (PRIORITY, {"priority": 1.5}, b"1.5"),
        (PRIORITY, {"priority": True}, b"true"),
        (REGION, {"region": 7}, b"7"),
    ],
)
def test_a_header_that_says_what_the_argument_says_passes(
    header: ParamHeader, arguments: dict[str, Any], value: bytes
) -> None:
    """Streamable HTTP §Server Validation."""
    check_param_headers([header], arguments, sent((b"mcp-param-" + header.name.lower().encode(), value)))


@pytest.mark.parametrize(
    ("header", "arguments"),
    [
        (REGION, {}),
        (REGION, {"region": None}),
        (DRY_RUN, {}),
        (DRY_RUN, {"options": None}),
        (DRY_RUN, {"options": {}}),
        (DRY_RUN, {"options": "none"}),
        (DRY_RUN, {"options": [{"dry": True}]}),
    ],
)
def test_an_argument_that_is_not_there_has_no_header(header: ParamHeader, arguments: dict[str, Any]) -> None:
    """Streamable HTTP §Server Behavior for Custom Headers: "Server MUST NOT expect the header", for `null` neither."""
    check_param_headers([header], arguments, sent())
    with pytest.raises(HeaderMismatch, match="header value 'x', but no argument"):
        check_param_headers([header], arguments, sent((b"mcp-param-" + header.name.lower().encode(), b"x")))


@pytest.mark.parametrize(
    ("header", "arguments", "value"),
    [
        (REGION, {"region": "us-west1"}, b"us-west2"),
        (REGION, {"region": "us-west1"}, b"US-WEST1"),
        (REGION, {"region": "us-west1"}, b""),
        (REGION, {"region": "42"}, b"42.0"),
        (REGION, {"region": 42}, b"42.0"),
        (REGION, {"region": {"a": 1}}, b"(an object)"),
        (REGION, {"region": ["a"]}, b'["a"]'),
        (PRIORITY, {"priority": 42}, b"43"),
        (PRIORITY, {"priority": 42}, b"42.5"),
        (PRIORITY, {"priority": 1000}, b"1e3"),
        (PRIORITY, {"priority": 1000}, b"1_000"),
        (PRIORITY, {"priority": 2**53}, b"9007199254740993"),
        (PRIORITY, {"priority": 1}, b"true"),
        (PRIORITY, {"priority": True}, b"1"),
        (PRIORITY, {"priority": 1}, b"1" * 10_000),
        (PRIORITY, {"priority": float("inf")}, b"1" * 400),
        (DRY_RUN, {"options": {"dry": True}}, b"false"),
        (DRY_RUN, {"options": {"dry": True}}, b"True"),
        (DRY_RUN, {"options": {"dry": True}}, b"1"),
    ],
)
def test_a_header_that_says_anything_else_is_refused_with_both(
    header: ParamHeader, arguments: dict[str, Any], value: bytes
) -> None:
    with pytest.raises(HeaderMismatch, match=f"Mcp-Param-{header.name} header value .* does not match argument ") as raised:
        check_param_headers([header], arguments, sent((b"mcp-param-" + header.name.lower().encode(), value)))
    assert len(str(raised.value)) < 300


def test_an_argument_without_its_header_is_refused() -> None:
    """Streamable HTTP §Server Behavior for Custom Headers: "Client omits header but value is in body"."""
    with pytest.raises(HeaderMismatch, match="Mcp-Param-Region header is missing; argument region is 'us-west1'"):
        check_param_headers([REGION], {"region": "us-west1"}, sent((b"mcp-param-other", b"us-west1")))


@pytest.mark.parametrize("value", [b"=?base64?SGVsbG8?=", b"=?base64?SGVs!!!bG8=?=", b"=?base64?/w==?=", b"Hell\xf6"])
def test_a_header_that_can_not_be_read_is_refused(value: bytes) -> None:
    """Streamable HTTP §Server Behavior for Custom Headers: "a recognized header … that contains invalid characters"."""
    with pytest.raises(HeaderMismatch, match="Mcp-Param-Region"):
        check_param_headers([REGION], {"region": "Hello"}, sent((b"mcp-param-region", value)))


def test_a_header_that_comes_twice_is_refused() -> None:
    twice = sent((b"mcp-param-region", b"a"), (b"mcp-param-region", b"a"))
    with pytest.raises(HeaderMismatch, match="comes 2 times"):
        check_param_headers([REGION], {"region": "a"}, twice)


def test_every_header_is_checked() -> None:
    call = {"region": "a", "priority": 1, "options": {"dry": True}}
    right = ((b"mcp-param-region", b"a"), (b"mcp-param-priority", b"1"), (b"mcp-param-dry-run", b"true"))
    check_param_headers([REGION, PRIORITY, DRY_RUN], call, sent(*right))
    for wrong in range(3):
        headers = [(name, b"wrong" if index == wrong else value) for index, (name, value) in enumerate(right)]
        with pytest.raises(HeaderMismatch):
            check_param_headers([REGION, PRIORITY, DRY_RUN], call, sent(*headers))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans())
def test_what_a_client_encodes_is_what_the_body_says(value: str | int | bool) -> None:
    """Streamable HTTP §Value Encoding, for each of the primitive types."""
    kind = {str: "string", int: "integer", bool: "boolean"}[type(value)]
    headers = sent((b"mcp-param-x", encode_header_value(value).encode()))
    check_param_headers([ParamHeader("X", ("a", "b"), kind)], {"a": {"b": value}}, headers)


# What a client says


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "us-west1"}, [(b"Mcp-Param-Region", b"us-west1")]),
        ({"region": " padded "}, [(b"Mcp-Param-Region", b"=?base64?IHBhZGRlZCA=?=")]),
        ({"priority": 42}, [(b"Mcp-Param-Priority", b"42")]),
        ({"priority": -7.0}, [(b"Mcp-Param-Priority", b"-7")]),
        ({"options": {"dry": True}}, [(b"Mcp-Param-Dry-Run", b"true")]),
        ({"region": None, "priority": [1], "options": "dry"}, []),
        ({"region": "\ud800"}, []),
        ({}, []),
        (None, []),
    ],
)
def test_a_call_repeats_what_is_there_to_be_repeated(arguments: Any, headers: list[tuple[bytes, bytes]]) -> None:
    """2026-07-28, Streamable HTTP §Client Behavior."""
    assert mirror_arguments([REGION, PRIORITY, DRY_RUN], arguments) == headers


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.booleans())
@settings(max_examples=100)
def test_what_a_client_repeats_is_what_a_server_expects(region: str, priority: int, dry: bool) -> None:
    arguments = {"region": region, "priority": priority, "options": {"dry": dry}}
    headers = [(name.lower(), value) for name, value in mirror_arguments([REGION, PRIORITY, DRY_RUN], arguments)]
    check_param_headers([REGION, PRIORITY, DRY_RUN], arguments, sent(*headers))
