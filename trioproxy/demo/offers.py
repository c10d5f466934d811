"""What the demo offers: tools, resources, a prompt, and suggestions for their arguments.

Nothing here knows how a message looks, or which era its client is of.
"""

from __future__ import annotations

from .calls import INVALID_PARAMS, LOG_LEVELS, EarlyResult, ProtocolError, failure, text_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from .calls import Call, Json, Steps

    ToolT = TypeVar("ToolT", bound=Callable[..., Json | Steps[Json]])

INSTRUCTIONS = "A demo. Call `count` to see progress, `ask_name` to be asked something, `grow` to see a list change."

GREETING = "demo://greeting"
COUNTER = "demo://counter"
LEAF = "demo://leaf/"
SQUARE = "demo://square/"

# Each of them stays in the lists until the process ends.
MAX_LEAVES = 100

NAMES = ("Ada", "Alan", "Barbara", "Donald", "Edsger", "Grace", "Margaret", "Nathaniel")

JSON_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}

TOOLS: dict[str, Callable[..., Json | Steps[Json]]] = {}
DEFINITIONS: dict[str, Json] = {}


def tool(description: str, output_schema: Json | None = None, **properties: Json) -> Callable[[ToolT], ToolT]:
    """Offer a method of `Offers` as a tool.

    Args:
      properties: a JSON Schema for each argument; those without a default are required.
    """

    def offer(function: ToolT) -> ToolT:
        name = function.__name__
        TOOLS[name] = function
        DEFINITIONS[name] = {"name": name, "description": description, "inputSchema": object_schema(properties)}
        if output_schema is not None:
            DEFINITIONS[name]["outputSchema"] = output_schema
        return function

    return offer


def object_schema(properties: Json) -> Json:
    """Return the JSON Schema of an object with these `properties` and no others."""
    required = [name for name, expected in properties.items() if "default" not in expected]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def fit_arguments(schema: Json, arguments: Json) -> Json:
    """Return `arguments` with the defaults filled in.

    Only as much of JSON Schema as the tools below use.

    Raises:
      ValueError: they don't satisfy `schema`; the message says where.
    """
    properties: dict[str, Json] = schema["properties"]
    for name in arguments:
        if name not in properties:
            raise ValueError(f"Unknown argument: {name}")
    fitted = {name: expected["default"] for name, expected in properties.items() if "default" in expected} | arguments
    for name, expected in properties.items():
        if name not in fitted:
            raise ValueError(f"Missing argument: {name}")
        value = fitted[name]
        # To Python True is a number, to JSON it isn't.
        if isinstance(value, bool) or not isinstance(value, JSON_TYPES[expected["type"]]):
            raise ValueError(f"{name} must be of type {expected['type']}")
        low, high = expected.get("minimum", value), expected.get("maximum", value)
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}")
        if value not in expected.get("enum", (value,)):
            raise ValueError(f"{name} must be one of {', '.join(expected['enum'])}")
    return fitted


# Wide enough for anyone, and no sum of two overflows into an infinity, for which JSON has no word.
ADDEND: Json = {"type": "number", "minimum": -1e300, "maximum": 1e300}


class Offers:
    """The things on offer, and what the tools have changed about them.

    Args:
      publish: called with a kind of change, as `subscriptions/listen` names it, and the URI where there is one.
    """

    def __init__(self, publish: Callable[[str, str | None], None]) -> None:
        self.publish = publish
        self.touches = 0
        self.leaves = 0
        self.definitions = dict(DEFINITIONS)

    def run_tool(self, call: Call, name: str, arguments: Json) -> Json | Steps[Json]:
        """Run one of `definitions`, with arguments that fit its schema."""
        if name in TOOLS:
            return TOOLS[name](self, call, **arguments)
        return text_result(f"This is {name}, swaying in the wind.")

    @tool("Say the same thing back.", text={"type": "string"})
    def echo(self, call: Call, text: str) -> Json:
        return text_result(text)

    @tool(
        "Add two numbers.",
        {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]},
        a=ADDEND,
        b=ADDEND,
    )
    def add(self, call: Call, a: float, b: float) -> Json:
        return text_result(str(a + b), structuredContent={"sum": a + b})

    @tool(
        "Count slowly, reporting progress; can be cancelled.",
        to={"type": "integer", "minimum": 0, "maximum": 1_000_000},
        delay_ms={"type": "integer", "minimum": 0, "maximum": 60_000, "default": 200},
    )
    def count(self, call: Call, to: int, delay_ms: int) -> Steps[Json]:
        for number in range(1, to + 1):
            yield delay_ms / 1000
            call.report_progress(number, to, f"{number} of {to}")
        return text_result(f"Counted to {to}.")

    @tool(
        "Send a log message.",
        text={"type": "string"},
        level={"type": "string", "enum": list(LOG_LEVELS), "default": "info"},
    )
    def log(self, call: Call, text: str, level: str) -> Json:
        call.log(level, text)
        return text_result(f"Logged at level {level}.")

    @tool(f"Change the resource {COUNTER}, and tell its subscribers.")
    def touch(self, call: Call) -> Json:
        self.touches += 1
        self.publish("resourceSubscriptions", COUNTER)
        return text_result(f"Touched {self.touches} times.")

    @tool("Add a tool and a resource, and tell that the lists have changed.")
    def grow(self, call: Call) -> Json:
        if self.leaves == MAX_LEAVES:
            raise failure(f"There are {MAX_LEAVES} leaves already.")
        self.leaves += 1
        name = f"leaf_{self.leaves}"
        description = "A leaf that `grow` has grown."
        self.definitions[name] = {"name": name, "description": description, "inputSchema": object_schema({})}
        self.publish("toolsListChanged", None)
        self.publish("resourcesListChanged", None)
        return text_result(f"Grew the tool {name} and the resource {LEAF}{self.leaves}.")

    @tool("Ask the user's name (elicitation).")
    def ask_name(self, call: Call) -> Steps[Json]:
        name = yield from self.wait_for_name(call)
        return text_result(f"Hello, {name}!")

    @tool("Ask the client's language model (sampling).", prompt={"type": "string"})
    def ask_model(self, call: Call, prompt: str) -> Steps[Json]:
        said = yield from self.wait_for_model(call, prompt)
        return text_result(f"The model says: {said}")

    @tool("Ask the user's name, then have the client's language model greet them: two questions in one call.")
    def introduce(self, call: Call) -> Steps[Json]:
        name = yield from self.wait_for_name(call)
        said = yield from self.wait_for_model(call, f"Greet {name}.")
        return text_result(f"The model says to {name}: {said}")

    @tool("List the directories that the client lets servers work in (roots).")
    def list_roots(self, call: Call) -> Steps[Json]:
        answer = yield from call.ask("roots/list", {})
        match answer:
            case {"roots": [*roots]}:
                return text_result("\n".join(str(root["uri"]) for root in roots))
        raise failure("The client's answer has no list of roots.")

    def wait_for_name(self, call: Call) -> Steps[str]:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        answer = yield from call.ask("elicitation/create", {"message": "What is your name?", "requestedSchema": schema})
        match answer:
            case {"action": "accept", "content": {"name": str(name)}}:
                return name
            case {"action": "decline" | "cancel"}:
                raise EarlyResult(text_result("You would rather not say."))
        raise failure("The client's answer has no name.")

    def wait_for_model(self, call: Call, prompt: str) -> Steps[str]:
        message = {"role": "user", "content": {"type": "text", "text": prompt}}
        answer = yield from call.ask("sampling/createMessage", {"messages": [message], "maxTokens": 100})
        match answer:
            # Since 2025-11-25 the content may be a list.
            case {"content": {"text": str(text)} | [{"text": str(text)}, *_]}:
                return text
        raise failure("The client's answer has no text.")

    def list_resources(self) -> list[Json]:
        uris = [GREETING, COUNTER, *(f"{LEAF}{number}" for number in range(1, self.leaves + 1))]
        return [{"uri": uri, "name": uri.removeprefix("demo://"), "mimeType": "text/plain"} for uri in uris]

    def list_resource_templates(self) -> list[Json]:
        return [{"uriTemplate": SQUARE + "{number}", "name": "square", "mimeType": "text/plain"}]

    def read_resource(self, uri: str) -> str | None:
        """Return what `uri` holds now, or None if there is no such resource."""
        if uri == GREETING:
            return "Hello from the trioproxy demo."
        if uri == COUNTER:
            return str(self.touches)
        if uri.startswith(SQUARE):
            number = uri.removeprefix(SQUARE)
            # Bounded, because squaring is quick but Python refuses to print numbers of many thousand digits.
            return str(int(number) ** 2) if number.isascii() and number.isdecimal() and len(number) <= 100 else None
        if uri in [f"{LEAF}{number}" for number in range(1, self.leaves + 1)]:
            return "A leaf."
        return None

    def list_prompts(self) -> list[Json]:
        argument = {"name": "name", "description": "Whom to greet", "required": True}
        return [{"name": "greet", "description": "Ask for a warm greeting.", "arguments": [argument]}]

    def get_prompt(self, name: str, arguments: Json) -> Json:
        """Return a prompt with its arguments filled in.

        Raises:
          ProtocolError: there is none of this name, or its argument is missing.
        """
        if name != "greet":
            raise ProtocolError(INVALID_PARAMS, f"Unknown prompt: {name}")
        whom = arguments.get("name")
        if not isinstance(whom, str):
            raise ProtocolError(INVALID_PARAMS, "The prompt greet needs the argument name, a string")
        content = {"type": "text", "text": f"Please greet {whom} warmly."}
        return {"description": f"A greeting for {whom}", "messages": [{"role": "user", "content": content}]}

    def suggest(self, ref: Json, argument: Json) -> list[str]:
        """Return values for an argument of the prompt or of the resource template, given how its value begins.

        Raises:
          ProtocolError: there is no such argument.
        """
        match ref, argument:
            case {"type": "ref/prompt", "name": "greet"}, {"name": "name", "value": str(start)}:
                return [name for name in NAMES if name.lower().startswith(start.lower())]
            case {"type": "ref/resource", "uri": uri}, {"name": "number", "value": str(start)} if uri == SQUARE + "{number}":
                return [number for number in map(str, range(100)) if number.startswith(start)]
        raise ProtocolError(INVALID_PARAMS, "There is no such argument to complete")
