"""What a legacy client said of itself in its handshake, as the envelope that a modern request carries in its place.

A client of the handshake says once who it is and what it can do (2025-11-25, Lifecycle §Initialization).  A modern server
must not remember it: each request says it again, in its `_meta` (2026-07-28, Basic §`_meta`).

What is declared is what the client can be asked under its own revision.  Whatever a revision does not know goes out, so
that the server does not ask in vain: `elicitation` came with 2025-06-18; its `url` mode and `sampling.tools` came with
2025-11-25.  Two capabilities have no place in the modern era: `tasks`, and `roots.listChanged`.  Extensions and the client's
own name pass as they are.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypeAlias

from ..json_text import decode, scan
from ..messages import Request
from ..meta_keys import CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION
from ..revisions import LATEST_LEGACY_REVISION, LEGACY_REVISIONS, MODERN_REVISION
from ..splice import REMOVE, Path, Remove, cut_out, splice

FORMS_REVISION: Final = "2025-06-18"
"""The first with `elicitation/create`, and with forms only."""
MODES_REVISION: Final = "2025-11-25"
"""The first in which elicitation has modes, and sampling has tools."""

Edits: TypeAlias = dict[Path, bytes | Remove]


class Introduction(NamedTuple):
    """Who a client is.

    Attributes:
      revision: the one that it gets to hear in the answer to its `initialize`.
      capabilities: those that hold, decoded.
      envelope: the members of `_meta`, their values as JSON.
    """

    revision: str
    capabilities: dict[str, Any]
    envelope: dict[str, bytes]

    def edits(self, log_level: str | None = None) -> Edits:
        """Return what makes a legacy request a modern one; any claim that is there already gives way."""
        members = self.envelope if log_level is None else {**self.envelope, LOG_LEVEL: json.dumps(log_level).encode()}
        return {("params", "_meta", name): value for name, value in members.items()}


def read_introduction(initialize: Request) -> Introduction:
    """Return what a client says of itself in `initialize`.

    2025-11-25, Lifecycle §Version Negotiation: the version asked for where it is one that has a handshake, else "another
    protocol version it supports. This SHOULD be the latest version supported".
    """
    asked = initialize.params.get("protocolVersion")
    revision = asked if asked in LEGACY_REVISIONS else LATEST_LEGACY_REVISION
    raw = _declare(initialize, revision)
    envelope = {PROTOCOL_VERSION: json.dumps(MODERN_REVISION).encode(), CLIENT_CAPABILITIES: raw}
    info = cut_out(initialize.raw, ("params", "clientInfo"))
    if info is not None and type(initialize.params["clientInfo"]) is dict:
        envelope[CLIENT_INFO] = info
    return Introduction(revision, scan(decode(raw), 0)[0], envelope)


def _declare(initialize: Request, revision: str) -> bytes:
    """Return the capabilities that hold in both eras, as JSON."""
    declared = initialize.params.get("capabilities")
    raw = cut_out(initialize.raw, ("params", "capabilities"))
    if raw is None or type(declared) is not dict:
        return b"{}"
    edits: Edits = {("tasks",): REMOVE}
    # An edit below something that is no object would make it one.
    if _is_object_with(declared.get("roots"), "listChanged"):
        edits["roots", "listChanged"] = REMOVE
    if revision < FORMS_REVISION:
        edits["elicitation",] = REMOVE
    if revision < MODES_REVISION:
        if declared.get("elicitation") and revision >= FORMS_REVISION:
            edits["elicitation",] = b"{}"
        if _is_object_with(declared.get("sampling"), "tools"):
            edits["sampling", "tools"] = REMOVE
    return splice(raw, edits)


def _is_object_with(value: object, name: str) -> bool:
    return type(value) is dict and name in value
