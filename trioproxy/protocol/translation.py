"""What the two translators between the eras have in common.

A translator stands between a client of one era and a server of the other, and is a state machine: a message goes in, from
either side, and what follows from it comes out.  It neither waits nor looks at a clock; what has to happen later happens
in `wake`, which is called when `deadline` has come.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .messages import Message, RequestId


class Related(NamedTuple):
    """A message for the client that belongs to one of its requests in flight, though nothing in it says so.

    A translator knows whose question it asks; over HTTP the stream on which a message comes says the same.
    """

    raw: bytes
    request_id: RequestId


class Step(NamedTuple):
    """What follows from one message, or from the time that has passed: messages, each one line without its newline."""

    to_client: tuple[bytes | Related, ...] = ()
    to_server: tuple[bytes, ...] = ()


class Translator(Protocol):
    """A server of one era, made to look like one of the other.

    Times are seconds on any clock that never goes back.
    """

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next; infinity when nothing waits."""

    @property
    def is_transparent(self) -> bool:
        """Whether from now on every message passes as it is, in both directions."""

    def from_client(self, message: Message, now: float) -> Step:
        """Take a message of the client."""

    def from_server(self, message: Message, now: float, request_id: RequestId | None = None) -> Step:
        """Take a message of the server.

        Args:
          request_id: of the request, as the server knows it, to which the message belongs; None where nothing says so.
        """

    def wake(self, now: float) -> Step:
        """Do what is due."""
