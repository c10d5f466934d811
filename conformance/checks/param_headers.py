"""The headers that repeat arguments of a tool (2026-07-28, Streamable HTTP §Custom Headers from Tool Parameters)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..conversation import Message, Requests
from ..survey import header_parameters
from ..trial import Trial, check
from .headers import HEADER_MISMATCH, expect_mismatch

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUES: Mapping[str, Any] = {"string": "us-west1", "integer": 42, "boolean": True}


class _Call:
    """A call of the tool whose arguments are repeated, with all of them filled in, and the headers that do it."""

    def __init__(self, trial: Trial, talk: Requests) -> None:
        name = trial.tool("headers").name
        self.trial, self.talk = trial, talk
        schema = trial.survey.tools[name]["inputSchema"]
        self.repeated = header_parameters(trial.survey.tools[name])
        wanted = {*self.repeated, *schema.get("required", ())}
        properties = schema["properties"]
        values = {one: _VALUES.get(properties.get(one, {}).get("type", "string"), "x") for one in wanted}
        self.message: Message = talk.request("tools/call", {"name": name, "arguments": values})
        self.required = set(schema.get("required", ()))
        self.types = {one: properties[one].get("type") for one in self.repeated}

    @property
    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self.message["params"]["arguments"]
        return arguments

    def headers(self, **changed: str | None) -> dict[str, str]:
        """The headers; `changed` by argument, None for one that is left out."""
        headers = {}
        for argument, header in self.repeated.items():
            if self.arguments.get(argument) is not None:
                headers[f"mcp_param_{header}"] = str(changed.get(argument, _plain(self.arguments[argument])) or "")
        return headers

    async def expect_served(self, why: str, headers: dict[str, str]) -> None:
        async with self.talk.open(self.message, **headers) as call:
            await call.finish()
            code = ((call.response or {}).get("error") or {}).get("code")
            served = call.response is not None and code != HEADER_MISMATCH
            self.trial.expect(served, f"no mismatch for {why}", call.response or call.reply.status)

    async def expect_refused(self, why: str, headers: dict[str, str]) -> None:
        await expect_mismatch(self.trial, self.message, why, **headers)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encoded(value: str) -> str:
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


@check(needs=("headers",))
async def a_value_that_differs_is_refused(trial: Trial) -> None:
    """The header must be what the argument is; where it is, the call is served."""
    call = _Call(trial, trial.requests())
    await call.expect_served("headers that repeat the arguments", call.headers())
    for argument in call.repeated:
        await call.expect_refused(f"another value for {argument}", call.headers(**{argument: "7"}))


@check(needs=("headers",))
async def a_missing_value_is_refused(trial: Trial) -> None:
    """An argument that is there must be repeated."""
    call = _Call(trial, trial.requests())
    for argument in call.repeated:
        await call.expect_refused(f"no header for {argument}", call.headers(**{argument: None}))


@check(needs=("headers",))
async def what_is_not_there_needs_no_header(trial: Trial) -> None:
    """An argument that is left out, or null, is not repeated."""
    for absent in ("left out", "null"):
        call = _Call(trial, trial.requests())
        optional = [argument for argument in call.repeated if argument not in call.required]
        if not optional:
            trial.skip("each argument that is repeated is required")
        for argument in optional:
            if absent == "null":
                call.arguments[argument] = None
            else:
                del call.arguments[argument]
        await call.expect_served(f"arguments that are {absent}, and no headers for them", call.headers())


@check(needs=("headers",))
async def an_encoded_value_is_decoded(trial: Trial) -> None:
    """A value in Base64 is compared for what it says."""
    call = _Call(trial, trial.requests())
    for argument in call.repeated:
        value = _plain(call.arguments[argument])
        await call.expect_served(f"{argument} in Base64", call.headers(**{argument: _encoded(value)}))
        await call.expect_refused(f"another {argument} in Base64", call.headers(**{argument: _encoded("7")}))
    texts = [argument for argument in call.repeated if call.types[argument] == "string"]
    for argument in texts:
        call.arguments[argument] = " 世界 "
        await call.expect_served(f"{argument} with spaces and 世界", call.headers(**{argument: _encoded(" 世界 ")}))


@check(needs=("headers",))
async def invalid_characters_are_refused(trial: Trial) -> None:
    """What claims to be Base64 and is none, and letters that no header may have, are refused."""
    call = _Call(trial, trial.requests())
    for argument in call.repeated:
        for value in ("=?base64?not base64!?=", "us-west\xe91"):
            await call.expect_refused(f"{argument} as {value!r}", call.headers(**{argument: value}))


@check(needs=("headers",))
async def integers_are_compared_as_numbers(trial: Trial) -> None:
    """42.0 is 42."""
    call = _Call(trial, trial.requests())
    integers = [argument for argument in call.repeated if call.types[argument] == "integer"]
    if not integers:
        trial.skip("no argument that is repeated is an integer")
    for argument in integers:
        value = f"{call.arguments[argument]}.0"
        await call.expect_served(f"{argument} as {value}", call.headers(**{argument: value}))


def _annotations(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every schema with an `x-mcp-header`, wherever it stands, with the keys that lead there."""
    if isinstance(schema, Mapping):
        if "x-mcp-header" in schema and path[-2:-1] != ("x-mcp-header",):
            yield path, schema
        for key, below in schema.items():
            yield from _annotations(below, (*path, str(key)))
    elif isinstance(schema, list):
        for number, below in enumerate(schema):
            yield from _annotations(below, (*path, str(number)))


def _each_tool(trial: Trial) -> Iterator[tuple[str, list[tuple[tuple[str, ...], Mapping[str, Any]]]]]:
    annotated = {name: list(_annotations(tool.get("inputSchema"))) for name, tool in trial.survey.tools.items()}
    if not any(annotated.values()):
        trial.skip("no tool has its arguments repeated in headers")
    yield from annotated.items()


@check()
async def names_in_schemas_are_names_of_headers(trial: Trial) -> None:
    """An `x-mcp-header` is the rest of a header's name: not empty, and of the letters that those have."""
    for tool, found in _each_tool(trial):
        for path, schema in found:
            name = schema["x-mcp-header"]
            fine = isinstance(name, str) and _TOKEN.fullmatch(name) is not None
            trial.expect(fine, f"a name of a header at {'.'.join(path)} of {tool}", repr(name))


@check()
async def names_in_schemas_are_unique(trial: Trial) -> None:
    """No two arguments of a tool share a header, whatever the case of its letters."""
    for tool, found in _each_tool(trial):
        names = [str(schema["x-mcp-header"]).lower() for _, schema in found]
        trial.expect(len(set(names)) == len(names), f"names that differ in {tool}", names)


@check()
async def only_primitive_arguments_are_repeated(trial: Trial) -> None:
    """What a header repeats is a string, an integer or a boolean."""
    for tool, found in _each_tool(trial):
        for path, schema in found:
            kind = schema.get("type")
            trial.expect(kind in _VALUES, f"string, integer or boolean at {'.'.join(path)} of {tool}", kind)


@check()
async def only_reachable_arguments_are_repeated(trial: Trial) -> None:
    """From the root of the schema only `properties` lead to what a header repeats."""
    for tool, found in _each_tool(trial):
        for path, _ in found:
            fine = len(path) % 2 == 0 and all(key == "properties" for key in path[::2])
            trial.expect(fine, f"nothing but properties on the way, in {tool}", ".".join(path))
