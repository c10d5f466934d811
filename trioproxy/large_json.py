"""The JSON of large bodies, read by the parser that the SDK's models stand on: ten times as fast where most is one string.

A body is read before it goes on, since what is no JSON must not reach a server; of a megabyte, that was most of the time.
The parser (pydantic-core, which comes with `mcp`) is loaded with the first large body.
"""

from __future__ import annotations

from typing import Any


def read_large(body: bytes) -> Any:
    """Return the value of `body`.

    Raises:
      ValueError: it can't be read so; it may be JSON all the same, such as with half of a surrogate pair.
    """
    from pydantic_core import from_json

    return from_json(body, allow_inf_nan=False, cache_strings="none")
