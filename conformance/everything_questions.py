"""The tools, the prompt and the resource that ask the client something before they answer.

Each is written once and serves both eras (`asking`).  Those with `input_required_result` in their names belong to the
scenarios of 2026-07-28, whose names for questions they use, and the others to those of earlier revisions; but to a proxy
that translates, each of them is a question from one era which a client of the other has to see.
"""

from __future__ import annotations

from typing import Any, Final

import mcp.types as types
from mcp import UrlElicitationRequiredError

from .asking import Ask, Call, find_undeclared
from .everything_tools import strings, text, tool

# --- Questions, and how answers are read aloud.


def form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def page(message: str, url: str) -> types.ElicitRequest:
    return types.ElicitRequest(params=types.ElicitRequestURLParams(message=message, url=url))


def prompt(words: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(words))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def _field(name: str, json_type: str = "string") -> dict[str, Any]:
    """The schema of a form with one field."""
    return {"type": "object", "properties": {name: {"type": json_type}}, "required": [name]}


_NAME: Final = form("What is your name?", _field("name"))


def _read_field(answer: types.ElicitResult, name: str) -> str:
    """What the user has filled in, or what was done instead."""
    return str((answer.content or {}).get(name, f"({answer.action})"))


def _read_form(answer: types.ElicitResult) -> str:
    return f"action={answer.action}, content={answer.content or {}}"


def _read_model(answer: types.CreateMessageResult) -> str:
    return answer.content.text if isinstance(answer.content, types.TextContent) else f"({answer.content.type})"


def _read_roots(answer: types.ListRootsResult) -> str:
    return ", ".join(str(root.uri) for root in answer.roots)


# --- One question of each kind.


@tool(strings(prompt="The prompt to send to the model"))
async def test_sampling(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's model."""
    if (reply := call.find_answer("reply", types.CreateMessageResult)) is None:
        return Ask({"reply": prompt(call.arguments["prompt"])})
    return [text(f"LLM response: {_read_model(reply)}")]


@tool(strings(message="The message to show the user"))
async def test_elicitation(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user for a name and an address."""
    if (answer := call.find_answer("answer", types.ElicitResult)) is None:
        schema = strings(username="User's response", email="User's email address")
        return Ask({"answer": form(call.arguments["message"], schema)})
    return [text(f"User response: {_read_form(answer)}")]


# A default for each primitive type (SEP-1034).
_DEFAULTS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {
            "type": "string",
            "description": "User status",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    },
    "required": [],
}


@tool()
async def test_elicitation_sep1034_defaults(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user something that has default answers."""
    if (answer := call.find_answer("answer", types.ElicitResult)) is None:
        return Ask({"answer": form("Please review and update the form fields with defaults", _DEFAULTS)})
    return [text(f"Elicitation completed: {_read_form(answer)}")]


def _titled(*choices: tuple[str, str]) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in choices]


_OPTIONS: Final = ["option1", "option2", "option3"]
# Every way to offer a choice, the deprecated one included (SEP-1330).
_ENUMS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "description": "Select one option", "enum": _OPTIONS},
        "titledSingle": {
            "type": "string",
            "description": "Select one titled option",
            "oneOf": _titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")),
        },
        "legacyEnum": {
            "type": "string",
            "description": "Select one option, titled in the deprecated way",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "description": "Select up to three options",
            "minItems": 1,
            "maxItems": 3,
            "items": {"type": "string", "enum": _OPTIONS},
        },
        "titledMulti": {
            "type": "array",
            "description": "Select up to three titled options",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "anyOf": _titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice")),
            },
        },
    },
    "required": [],
}


@tool()
async def test_elicitation_sep1330_enums(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user to choose, in each of the ways to offer a choice."""
    if (answer := call.find_answer("answer", types.ElicitResult)) is None:
        return Ask({"answer": form("Please select options from the enum fields", _ENUMS)})
    return [text(f"Elicitation completed: {_read_form(answer)}")]


@tool()
async def test_elicitation_url(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user to visit a page."""
    if (answer := call.find_answer("visit", types.ElicitResult)) is None:
        return Ask({"visit": page("Please visit this page", "https://example.com/visit")})
    return [text(f"Visit: {answer.action}")]


_told_to_sign_in: Final[set[str]] = set()


@tool(strings(account="Who has to sign in"))
async def test_url_elicitation_required(call: Call) -> list[types.ContentBlock] | Ask:
    """Answers only once the client's user has visited a page.

    Before 2026-07-28 that is an error (-32042), after which the client calls once more, and gets its answer.
    """
    account = call.arguments["account"]
    message, url = "Please sign in", "https://example.com/sign-in"
    if call.is_modern:
        if (answer := call.find_answer("sign_in", types.ElicitResult)) is None:
            return Ask({"sign_in": page(message, url)})
        return [text(f"{account} signed in: {answer.action}")]
    if account not in _told_to_sign_in:
        _told_to_sign_in.add(account)
        required = types.ElicitRequestURLParams(message=message, url=url, elicitation_id=f"sign-in-{account}")
        raise UrlElicitationRequiredError([required])
    return [text(f"{account} signed in: accept")]


@tool()
async def test_missing_capability(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's model, which the scenario's client does not have."""
    if (reply := call.find_answer("reply", types.CreateMessageResult)) is None:
        return Ask({"reply": prompt("Is anybody there?")}, insists=True)
    return [text(f"LLM response: {_read_model(reply)}")]


@tool()
async def test_streaming_elicitation(call: Call) -> list[types.ContentBlock] | Ask:
    """Reports progress before it asks, so that there is a stream when the question comes."""
    await call.context.session.report_progress(len(call.answers), 1, "Asking" if not call.answers else "Asked")
    if (answer := call.find_answer("user_name", types.ElicitResult)) is None:
        return Ask({"user_name": _NAME})
    return [text(f"Hello, {_read_field(answer, 'name')}!")]


@tool()
async def test_input_required_result_elicitation(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user for a name."""
    if (answer := call.find_answer("user_name", types.ElicitResult)) is None:
        return Ask({"user_name": _NAME})
    return [text(f"Hello, {_read_field(answer, 'name')}!")]


@tool()
async def test_input_required_result_sampling(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's model for a capital."""
    if (reply := call.find_answer("capital_question", types.CreateMessageResult)) is None:
        return Ask({"capital_question": prompt("What is the capital of France?")})
    return [text(_read_model(reply))]


@tool()
async def test_input_required_result_list_roots(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client for its roots."""
    if (answer := call.find_answer("client_roots", types.ListRootsResult)) is None:
        return Ask({"client_roots": types.ListRootsRequest()})
    return [text(f"Roots: {_read_roots(answer)}")]


# --- Several questions, several rounds, and what is remembered in between.


_SEVERAL: Final[dict[str, types.InputRequest]] = {
    "user_name": _NAME,
    "greeting": prompt("Generate a greeting", max_tokens=50),
    "client_roots": types.ListRootsRequest(),
}


@tool()
async def test_input_required_result_multiple_inputs(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks the client's user, its model, and the client itself, all at once."""
    name = call.find_answer("user_name", types.ElicitResult)
    greeting = call.find_answer("greeting", types.CreateMessageResult)
    roots = call.find_answer("client_roots", types.ListRootsResult)
    if name is None or greeting is None or roots is None:
        return Ask(_SEVERAL, state="asked for everything")
    return [text(f"{_read_model(greeting)} {_read_field(name, 'name')}: {_read_roots(roots)}")]


@tool()
async def test_input_required_result_capabilities(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks whatever the client has declared that it can be asked."""
    if not call.answers:
        possible = {
            name: question for name, question in _SEVERAL.items() if not find_undeclared(call.context, {name: question})
        }
        if possible:
            return Ask(possible)
    return [text(f"Answered: {', '.join(sorted(call.answers)) or 'nothing'}")]


@tool()
async def test_input_required_result_multi_round(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks for a name, and then for a colour."""
    if name := call.find_answer("step1", types.ElicitResult):
        question = form("Step 2: What is your favorite color?", _field("color"))
        return Ask({"step2": question}, state=_read_field(name, "name"))
    if color := call.find_answer("step2", types.ElicitResult):
        return [text(f"{call.state} likes {_read_field(color, 'color')}")]
    return Ask({"step1": form("Step 1: What is your name?", _field("name"))}, state="asked for the name")


@tool()
async def test_input_required_result_request_state(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks for a confirmation, and remembers something meanwhile."""
    return _confirm(call)


@tool()
async def test_input_required_result_tampered_state(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks for a confirmation, and will not believe a state that it did not write."""
    return _confirm(call)


def _confirm(call: Call) -> list[types.ContentBlock] | Ask:
    if (answer := call.find_answer("confirm", types.ElicitResult)) is None or call.state is None:
        return Ask({"confirm": form("Please confirm", _field("ok", "boolean"))}, state="a confirmation")
    return [text(f"state-ok: {call.state} says {_read_field(answer, 'ok')}")]


@tool()
async def test_input_required_result_state_only(call: Call) -> list[types.ContentBlock] | Ask:
    """Asks nothing, and needs three rounds all the same."""
    rounds = int(call.state or 0)
    return Ask({}, state=str(rounds + 1)) if rounds < 2 else [text(f"Done after {rounds} more rounds")]


# --- The same of a prompt and of a resource.

PROMPT: Final = types.Prompt(name="test_input_required_result_prompt", description="A prompt that has to ask first")
RESOURCE: Final = types.Resource(
    uri="test://asking", name="Asking resource", description="A text that has to ask first", mime_type="text/plain"
)


async def get_prompt(call: Call) -> types.GetPromptResult | Ask:
    if (answer := call.find_answer("user_context", types.ElicitResult)) is None:
        question = form("What context should the prompt use?", _field("context"))
        return Ask({"user_context": question})
    words = text(f"Prompt with context: {_read_field(answer, 'context')}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=words)])


async def read_resource(call: Call) -> types.ReadResourceResult | Ask:
    if (answer := call.find_answer("user_name", types.ElicitResult)) is None:
        return Ask({"user_name": _NAME})
    words = f"Only for {_read_field(answer, 'name')}"
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=RESOURCE.uri, mime_type="text/plain", text=words)]
    )
