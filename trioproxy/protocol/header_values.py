"""The value of a header that repeats what the body says: how it is read, and how it is written.

2026-07-28, Streamable HTTP §Request Metadata, mirrors parts of the body into headers, so that whoever stands on the way can
route by them.  That is safe only as long as everybody reads the same: so a header that comes twice, or that two readers
could read in two ways, is none at all.

Not here: which header has to say what (`envelope`, `param_headers`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from .errors import HeaderMismatch

HeaderValues: TypeAlias = Callable[[bytes], Sequence[bytes]]
"""All values that a request has for the header of a name, the name in lower case."""

_INVALID: Final = re.compile(rb"[^\t\x20-\x7e]")
_PLAIN: Final = re.compile(r"(?! )[\x20-\x7e]*(?<! )")
# "These markers are case-sensitive and MUST appear exactly as shown" (§Value Encoding).
_PREFIX: Final = "=?base64?"
_SUFFIX: Final = "?="
_ENCODED: Final = re.compile(re.escape(_PREFIX) + "(.*)" + re.escape(_SUFFIX))


def single_value(values: HeaderValues, name: str) -> str | None:
    """Return the only value of the header `name`, None where there is none.

    The white space around it is no part of it (RFC 9110 §5.5).

    Raises:
      HeaderMismatch: there are several, or there is something in it other than "visible ASCII characters (0x21-0x7E),
        space (0x20), and horizontal tab (0x09)" (§Value Encoding).
    """
    found = values(name.lower().encode())
    if not found:
        return None
    if len(found) > 1:
        raise HeaderMismatch(f"Header mismatch: {name} comes {len(found)} times")
    value = found[0].strip(b" \t")
    if match := _INVALID.search(value):
        where = f"byte 0x{match[0].hex()} at position {match.start()}"
        raise HeaderMismatch(f"Header mismatch: {name} has a character that is invalid in a header, {where}")
    return value.decode()


def encode_header_value(value: str | int | bool) -> str:
    """Return what stands for `value` in a header (§Value Encoding).

    Base64 is for what "cannot be safely represented as a plain ASCII header value", a tab among it, since some replace it
    by a space; and for plain text that would be taken for Base64.

    Raises:
      UnicodeEncodeError: a lone surrogate, for which UTF-8 has no bytes.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if _PLAIN.fullmatch(text) and not (text.startswith(_PREFIX) and text.endswith(_SUFFIX)):
        return text
    return _PREFIX + base64.b64encode(text.encode()).decode() + _SUFFIX


def decode_header_value(name: str, value: str) -> str:
    """Return the text that `value` of the header `name` stands for.

    Raises:
      HeaderMismatch: it is marked as Base64, and is not Base64 of UTF-8.
    """
    encoded = _ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        data = base64.b64decode(encoded[1], validate=True)
        # Base64 has bits to spare at its end, and text has to have one spelling.
        if base64.b64encode(data).decode() == encoded[1]:
            return data.decode()
    except ValueError:
        pass
    raise HeaderMismatch(f"Header mismatch: {name} header value {shown(value)} is not Base64 of UTF-8 text")


_LONGEST_SHOWN: Final = 60


def shown(value: object) -> str:
    """Return a value of a header, or of the body, as evidence for an error message; a long one is cut."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
    if isinstance(value, dict | list):
        return "(an object)" if isinstance(value, dict) else "(an array)"
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
