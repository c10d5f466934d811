"""What a remote wants to see of us with each request, and what to do when it is not content."""

from __future__ import annotations

from typing import Protocol

from ..http_client import Headers


class Credentials(Protocol):
    """Something that lets us in."""

    async def headers(self) -> Headers:
        """Return the headers that go with the next request."""

    async def renew(self, status: int, headers: Headers) -> bool:
        """Hear that a request was refused, with 401 or 403, and return whether it is worth sending once more.

        Args:
          headers: of the refusal; names in lower case.
        """
