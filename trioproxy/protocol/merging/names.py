"""What things of several servers are called where one list has them all, and which template a URI is of.

"Tool names SHOULD be unique within a server" (2025-11-25, Tools §Tool Names), and two servers know nothing of each other.  A
name that only one of them has stays as it is; one that several have becomes `SERVER__name` for each of them, so that no
server's tool can pass for another's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

Owned: TypeAlias = tuple[str, str]
"""A server, and what that calls the thing."""

_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9_-]")
"""What does not go into a prefix.  A dot would be allowed, but not by every model that is to call the tool."""
_EXPRESSION: Final = re.compile(r"\{([+#./;?&]?)([^{}]*)\}")


def prefixed(server: str, name: str) -> str:
    """Return `SERVER__name`, the prefix in characters that the name of a tool can have anywhere."""
    return f"{_UNUSUAL.sub('_', server)}__{name}"


def shown_names(lists: Mapping[str, Iterable[str]]) -> dict[Owned, str]:
    """Return what each thing is called in the merged list; it depends on the lists and their order alone."""
    owners = Counter(name for names in lists.values() for name in set(names))
    taken = {name for name, count in owners.items() if count == 1}
    shown: dict[Owned, str] = {}
    for server, names in lists.items():
        for name in dict.fromkeys(names):
            if owners[name] == 1:
                shown[server, name] = name
                continue
            first = candidate = prefixed(server, name)
            number = 1
            while candidate in taken:
                # Somebody has called a tool of its own what another's has to be called.
                number += 1
                candidate = f"{first}_{number}"
            taken.add(candidate)
            shown[server, name] = candidate
    return shown


def matches(template: str, uri: str) -> bool:
    """Whether `uri` may be of this template (RFC 6570): its literal parts are there, in their order.

    Which values of its variables a server takes only that server knows.
    """
    return _pattern(template).fullmatch(uri) is not None


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    pattern, at = "", 0
    for expression in _EXPRESSION.finditer(template):
        pattern += re.escape(template[at : expression.start()])
        # "reserved expansion" and the operators that bring separators along match more than one segment.
        pattern += "[^/?#]*" if not expression[1] and not expression[2].endswith("*") else ".*"
        at = expression.end()
    return re.compile(pattern + re.escape(template[at:]), re.DOTALL)
