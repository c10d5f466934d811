"""The servers behind a merged one: who is there, and what all of them together say of themselves.

Each takes part in the handshake that the client has opened, with the client's own words (2025-11-25, Lifecycle
§Initialization).  The client is answered once all have answered; or, after a while, once one has.  Who comes later joins
then, and the client hears that the lists have changed.  Capabilities can't be added any more, so while somebody is missing
all lists are declared, and that they may change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from ..errors import ParseError
from ..messages import Response, parse_error, parse_result
from ..revisions import LEGACY_REVISIONS

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_LISTS: Final = ("tools", "prompts", "resources")


class Presence(Enum):
    """Whether a server takes part."""

    AWAY = "not initialized"
    COMING = "asked to initialize"
    PRESENT = "initialized"
    GONE = "ended, for good"


class Member:
    """One server.

    Attributes:
      capabilities, revision, instructions: what it has said in its handshake.
      retry_at: when it is to be initialized again.
      absence: why it is not there.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.presence = Presence.AWAY
        self.capabilities: dict[str, Any] = {}
        self.revision = ""
        self.instructions: str | None = None
        self.retry_at = math.inf
        self.absence = "it has not been asked"
        self._pause = _FIRST_PAUSE

    @property
    def is_present(self) -> bool:
        """Whether it has been initialized."""
        return self.presence is Presence.PRESENT

    def can(self, capability: str) -> bool:
        """Whether it is there, and has declared this."""
        return self.is_present and type(self.capabilities.get(capability)) is dict

    def introduce(self, response: Response | None, now: float) -> bool:
        """Take the answer to `initialize`; return whether the server takes part now."""
        if self.presence is Presence.GONE:
            return False
        try:
            self._read(response)
        except ValueError as reason:
            self.absence = str(reason)
            self.presence = Presence.AWAY
            self.retry_at = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False
        self.presence = Presence.PRESENT
        self.retry_at, self._pause = math.inf, _FIRST_PAUSE
        return True

    def leave(self, reason: str) -> None:
        """Note that the server has ended."""
        self.presence, self.absence, self.retry_at = Presence.GONE, reason, math.inf

    def _read(self, response: Response | None) -> None:
        if response is None:
            raise ValueError("it has ended")
        try:
            if response.is_error:
                raise ValueError(f"it refuses the handshake: {parse_error(response).get('message')}")
            result = parse_result(response)
        except ParseError as error:
            raise ValueError(f"its answer to initialize is {error}") from None
        result = result if type(result) is dict else {}
        revision = result.get("protocolVersion")
        if revision not in LEGACY_REVISIONS:
            raise ValueError(f"it answers the handshake with revision {revision!r}; known are {', '.join(LEGACY_REVISIONS)}")
        self.revision = revision
        capabilities, instructions = result.get("capabilities"), result.get("instructions")
        self.capabilities = capabilities if type(capabilities) is dict else {}
        self.instructions = instructions if type(instructions) is str else None


def introduction(members: Sequence[Member], version: str) -> dict[str, Any]:
    """Return the result of the merged server's `initialize`.

    The revision is the oldest of theirs: what every one of them may say, the client must understand.
    """
    present = [member for member in members if member.is_present]
    # While somebody is missing who may still come.
    may_grow = any(member.presence in (Presence.AWAY, Presence.COMING) for member in members)
    result: dict[str, Any] = {
        "protocolVersion": min(member.revision for member in present),
        "capabilities": merged_capabilities([member.capabilities for member in present], may_grow=may_grow),
        "serverInfo": {"name": "trioproxy", "version": version},
    }
    instructions = merged_instructions({member.name: member.instructions for member in present})
    return {**result, "instructions": instructions} if instructions else result


def merged_capabilities(declared: Iterable[Mapping[str, Any]], *, may_grow: bool) -> dict[str, Any]:
    """Return what servers can do together.

    All lists may change, since servers come and go.  Tasks are left out: nothing in a task's id says whose it is.
    """
    declared = list(declared)
    merged: dict[str, Any] = {}
    for kind in _LISTS:
        if may_grow or any(type(capabilities.get(kind)) is dict for capabilities in declared):
            merged[kind] = {"listChanged": True}
    if any(_has(capabilities, "resources", "subscribe") for capabilities in declared):
        merged["resources"]["subscribe"] = True
    for kind in ("logging", "completions"):
        if any(type(capabilities.get(kind)) is dict for capabilities in declared):
            merged[kind] = {}
    for kind in ("experimental", "extensions"):
        together: dict[str, Any] = {}
        for capabilities in declared:
            members = capabilities.get(kind)
            together = {**members, **together} if type(members) is dict else together
        if together:
            merged[kind] = together
    return merged


def merged_instructions(instructions: Mapping[str, str | None]) -> str:
    """Return what several servers advise, each under its name."""
    return "\n\n".join(f"# {server}\n\n{text}" for server, text in instructions.items() if text)


def describe_absence(members: Iterable[Member]) -> str:
    """Return who is not there, and why, in words; empty where all are."""
    absent = (member for member in members if not member.is_present)
    return "; ".join(f"{member.name}: {member.absence}" for member in absent)


def encode_result(value: Mapping[str, Any]) -> bytes:
    """Return a result as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def _has(capabilities: Mapping[str, Any], kind: str, part: str) -> bool:
    declared = capabilities.get(kind)
    return type(declared) is dict and declared.get(part) is True
