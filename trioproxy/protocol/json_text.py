"""JSON as text: one value read where it stands, so that what is around it can be left as it is (RFC 8259).

`json.loads` returns values and forgets where they were.  Who wants to pass on bytes needs to know where a value begins and
ends; the scanner of the standard library, which is written in C, can tell.
"""

from __future__ import annotations

import json
import json.scanner
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

from .errors import ParseError


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"not JSON: {name} is no JSON number")


def _integer(text: str) -> int | float:
    """Return the value of an integer.  One of more than 4300 digits is legal JSON, but `int` refuses it."""
    try:
        return int(text)
    except ValueError:
        # We have no use for its value.
        return float(text)


# `json.loads` spends as long on guessing the encoding and on white space as on a small message itself.
_Scan: TypeAlias = Callable[[str, int], tuple[Any, int]]
_scanner: Callable[[json.JSONDecoder], _Scan] = json.scanner.make_scanner  # type: ignore[assignment]
_STRICT: Final[_Scan] = _scanner(json.JSONDecoder(parse_constant=_refuse_constant))
_ANY_INTEGER: Final[_Scan] = _scanner(json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer))
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def decode(data: bytes) -> str:
    """Return the text of a message.

    Raises:
      ParseError: not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"not JSON: byte {error.start} is not UTF-8") from None


def scan(text: str, at: int, scanner: _Scan = _STRICT) -> tuple[Any, int]:
    """Return the value that begins at character `at`, and where it ends.

    Raises:
      ParseError: there is none.
    """
    try:
        return scanner(text, at)
    except json.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error.msg} at character {error.pos}") from None
    except StopIteration as error:
        raise ParseError(f"not JSON: a value expected at character {error.value}") from None
    except RecursionError:
        raise ParseError("JSON nested too deeply") from None
    except ValueError:
        return scan(text, at, _ANY_INTEGER)


def skip_space(text: str, at: int) -> int:
    """Return where the white space that begins at character `at` ends."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def expect_end(text: str, at: int) -> None:
    """Check that nothing follows from character `at` on.

    Raises:
      ParseError: something does.
    """
    if at != len(text) and skip_space(text, at) != len(text):
        raise ParseError(f"not JSON: more after the end of the value, at character {at}")
