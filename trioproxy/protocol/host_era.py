"""How a host opens, and which translator follows from it (2026-07-28, Versioning §Backward Compatibility).

"A dual-era server selects its behavior from how the client opens."  A stdio server has one client, its host, and its first
message tells:

    what the host says first                    its era          what stands between it and the server
    a message with a claim of its own,          modern           `modern_to_unknown`, `modern_to_legacy`, or nothing
      or `server/discover`
    anything else, such as `initialize`         legacy           `legacy_to_modern`, or nothing

A host that probes and does not like what it hears falls back to `initialize`, and is a legacy one from then on.  There is no
way forward again: a legacy client has none.

A server that has refused a modern host, such as one that could not be reached, is asked anew with the next request.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from .envelope import is_modern
from .legacy_to_modern import LegacyToModern
from .messages import Message, Request, RequestId
from .modern_to_legacy import ModernToLegacy
from .modern_to_unknown import ModernToUnknown
from .own_messages import DISCOVER
from .translation import Related, Step


def opens_modern(message: Message) -> bool:
    """Whether a host that says `message` first is of the modern era."""
    return is_modern(message, None, has_session=False) or (type(message) is Request and message.method == DISCOVER)


def _falls_back(message: Message) -> bool:
    return type(message) is Request and message.method == "initialize" and not message.has_modern_claim


class HostEra:
    """The translator for one host, whose era is told by its first message, before one server.

    Args:
      server_era: of the server; `auto` where it has to be found out.
      name: what to call a server that does not say who it is.
      new_id: returns a string that nobody can guess, another one each time.
      probe_time: how long a server may take to show to a modern host that it is a modern one.
      handshake_time: how long a server may take to be initialized for a modern host.

    Attributes:
      host_is_modern: None until it has said something.
    """

    def __init__(
        self,
        server_era: Literal["auto", "legacy", "modern"],
        name: str,
        new_id: Callable[[], str],
        *,
        probe_time: float = 10.0,
        handshake_time: float = math.inf,
    ) -> None:
        self.host_is_modern: bool | None = None
        self._server_era = server_era
        self._name = name
        self._new_id = new_id
        self._probe_time = probe_time
        self._handshake_time = handshake_time
        # None where there is nothing to translate.
        self._translator: LegacyToModern | ModernToLegacy | ModernToUnknown | None = None

    @property
    def is_transparent(self) -> bool:
        """Whether every message passes as it is, whatever comes.  A modern host may still fall back."""
        return self.host_is_modern is False and (self._translator is None or self._translator.is_transparent)

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next."""
        return math.inf if self._translator is None else self._translator.deadline

    def from_client(self, message: Message, now: float) -> Step:
        """Take a message of the host.

        Raises:
          InvalidRequest, ParseError: as the translators do.
        """
        if self.host_is_modern is None or (self.host_is_modern and _falls_back(message)):
            self.host_is_modern = opens_modern(message)
            self._translator = self._choose()
        elif type(message) is Request and self._is_refused:
            self._translator = self._choose()
        if self._translator is None:
            return Step(to_server=(message.raw,))
        return self._translator.from_client(message, now)

    def from_server(self, message: Message, now: float, request_id: RequestId | None = None) -> Step:
        """Take a message of the server.

        Raises:
          ParseError: as the translators do.
        """
        if self._translator is None:
            return Step((message.raw if request_id is None else Related(message.raw, request_id),))
        return self._translator.from_server(message, now, request_id)

    def wake(self, now: float) -> Step:
        """Do what is due."""
        return Step() if self._translator is None else self._translator.wake(now)

    @property
    def _is_refused(self) -> bool:
        return isinstance(self._translator, ModernToLegacy | ModernToUnknown) and self._translator.is_refused

    def _choose(self) -> LegacyToModern | ModernToLegacy | ModernToUnknown | None:
        era = self._server_era
        if not self.host_is_modern:
            if era == "legacy":
                return None
            return LegacyToModern(self._name, self._new_id, tries_handshake=era == "auto")
        if era == "modern":
            return None
        legacy = ModernToLegacy(self._new_id, handshake_time=self._handshake_time)
        return legacy if era == "legacy" else ModernToUnknown(legacy, probe_time=self._probe_time)
