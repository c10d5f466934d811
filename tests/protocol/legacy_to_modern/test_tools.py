"""What is no object where a legacy client expects one is put into one (2025-11-25, schema §Tool)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.protocol.legacy_to_modern.tools import sampling_edits, tool_edits
from trioproxy.protocol.splice import splice


def shaped(*tools: Any) -> Any:
    raw = json.dumps({"tools": tools}).encode()
    return json.loads(splice(raw, tool_edits(raw, ("tools",), list(tools))))["tools"]


def wrapped(schema: dict[str, Any]) -> Any:
    ((tool),) = shaped({"name": "a", "inputSchema": {"type": "object"}, "outputSchema": schema})
    return tool["outputSchema"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "number"}},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "object"}, {"type": "string"}]},
        {},
    ],
)
def test_an_output_schema_of_anything_but_an_object_becomes_that_of_an_object(schema: dict[str, Any]) -> None:
    assert wrapped(schema) == {"type": "object", "properties": {"result": schema}, "required": ["result"]}


def test_an_output_schema_of_an_object_keeps_its_bytes() -> None:
    tool = {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "$ref": "#/$defs/x"}}
    assert tool_edits(json.dumps({"tools": [tool]}).encode(), ("tools",), [tool]) == {}


def test_references_to_the_root_of_a_schema_that_moves_move_along() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": {"$ref": "#/$defs/node"},
        "default": {"$ref": "#/a"},
        "description": "#/a",
        "allOf": [{"const": {"$ref": "#/a"}}],
        "$defs": {
            "node": {"properties": {"next": {"$ref": "#/$defs/node"}, "all": {"$dynamicRef": "#"}, "$ref": {}}},
            "anchored": {"$anchor": "here", "allOf": [{"$ref": "#here"}, {"$ref": "https://example.com/a#/b"}]},
            "data": {
                "const": {"$ref": "#/a"},
                "enum": [{"$ref": "#/a"}],
                "properties": {"enum": {"$ref": "#/$defs/node"}},
            },
            "own root": {"$id": "https://example.com/c", "$ref": "#/d"},
        },
    }
    moved = "#/properties/result/$defs/node"
    assert wrapped(schema) == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "result": {
                "type": "array",
                "items": {"$ref": moved},
                "default": {"$ref": "#/a"},
                "description": "#/a",
                "allOf": [{"const": {"$ref": "#/a"}}],
                "$defs": {
                    "node": {
                        "properties": {"next": {"$ref": moved}, "all": {"$dynamicRef": "#/properties/result"}, "$ref": {}}
                    },
                    "anchored": {"$anchor": "here", "allOf": [{"$ref": "#here"}, {"$ref": "https://example.com/a#/b"}]},
                    "data": {"const": {"$ref": "#/a"}, "enum": [{"$ref": "#/a"}], "properties": {"enum": {"$ref": moved}}},
                    "own root": {"$id": "https://example.com/c", "$ref": "#/d"},
                },
            }
        },
        "required": ["result"],
    }


def test_what_a_wrapped_schema_contains_keeps_its_bytes() -> None:
    raw = b'{"tools":[{"name":"a","outputSchema":{"type":"number","maximum":1e999}}]}'
    assert splice(raw, tool_edits(raw, ("tools",), json.loads(raw)["tools"])) == (
        b'{"tools":[{"name":"a","outputSchema":{"type":"object","properties":{"result":{"type":"number","maximum":1e999}},'
        b'"required":["result"]}}]}'
    )


def test_properties_whose_schema_is_a_boolean_get_one_that_is_an_object() -> None:
    schema = {"type": "object", "properties": {"any": True, "none": False, "deep": {"properties": {"any": True}}}}
    same = {"type": "object", "properties": {"any": {}, "none": {"not": {}}, "deep": {"properties": {"any": True}}}}
    assert shaped({"name": "a", "inputSchema": schema, "outputSchema": schema}) == [
        {"name": "a", "inputSchema": same, "outputSchema": same}
    ]


@pytest.mark.parametrize("tools", [None, "x", [None, 3, {"name": "a", "outputSchema": True, "inputSchema": []}]])
def test_what_is_no_tool_is_left_alone(tools: Any) -> None:
    assert tool_edits(json.dumps({"tools": tools}).encode(), ("tools",), tools) == {}


def test_tools_and_tool_results_in_sampling_are_of_the_same_shape() -> None:
    def result(content: Any) -> dict[str, Any]:
        return {"type": "tool_result", "toolUseId": "1", "content": [], "structuredContent": content}

    def params(schema: Any, *contents: Any) -> dict[str, Any]:
        return {
            "tools": [{"name": "a", "inputSchema": {"type": "object"}, "outputSchema": schema}],
            "messages": [
                {"role": "user", "content": [result(contents[0]), {"type": "text", "text": "x"}]},
                {"role": "user", "content": result(contents[1])},
            ],
            "maxTokens": 3,
        }

    before = params({"type": "string"}, [1], {"a": 1})
    raw = json.dumps({"params": before}).encode()
    wrapped_schema = {"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]}
    assert json.loads(splice(raw, sampling_edits(raw, ("params",), before))) == {
        "params": params(wrapped_schema, {"result": [1]}, {"a": 1})
    }
