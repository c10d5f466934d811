"""One list made of the lists of several servers: tools, prompts, resources or templates.

Each time a client asks, all servers are asked, page by page (2025-11-25, Pagination), and the client gets one page with
everything.  A server that takes too long does not hold up the others: its former part is shown, if it had any, and when it
answers the client is told that the list has changed.  One that answers with an error has no part, and is asked again after
a while.

What is in a list says whom a call goes to.  Names of a server that is away count, too: what is called `a__echo` beside a
server `b` is not to become `echo` whenever `b` is restarted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..errors import METHOD_NOT_FOUND, ParseError
from ..messages import Response, parse_error, parse_result
from ..outbox import encode
from ..splice import REMOVE, Path, Remove, cut_out, splice
from .names import Owned, prefixed, shown_names
from .switchboard import Switchboard

_MOST_PAGES: Final = 1000
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one server's part, where a server with one more page for ever has to stop."""
_MOST_FORMER: Final = 10_000
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0


class Kind(NamedTuple):
    """What is listed.

    Attributes:
      member: of the result, with the array.
      key: the member of an element by which it is known.
      capability: of a server that has such a list; it names the notification of a change, too.
      is_renamed: elements that collide get names of their own; else the first server's counts.
    """

    method: str
    member: str
    key: str
    capability: str
    is_renamed: bool


TOOLS: Final = Kind("tools/list", "tools", "name", "tools", True)
PROMPTS: Final = Kind("prompts/list", "prompts", "name", "prompts", True)
RESOURCES: Final = Kind("resources/list", "resources", "uri", "resources", False)
TEMPLATES: Final = Kind("resources/templates/list", "resourceTemplates", "uriTemplate", "resources", False)
KINDS: Final = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)


class _Page(NamedTuple):
    array: bytes
    keys: list[Any]


class _Part:
    """What one server has of the list.

    Attributes:
      pages: as it was last told.
      is_shown: it is told still.
      coming: the pages of an answer that is not complete; None while none is asked for.
      is_late: nobody waits for it any more.
      retry_at: when it is to be asked again of our own accord.
    """

    def __init__(self) -> None:
        self.pages: list[_Page] = []
        self.is_shown = False
        self.coming: list[_Page] | None = None
        self.is_late = False
        self.retry_at = math.inf
        self.pause = _FIRST_PAUSE

    @property
    def keys(self) -> list[str]:
        """By what its elements are known."""
        return [key for page in self.pages for key in page.keys if type(key) is str]


class _Waiter(NamedTuple):
    missing: set[str]
    deadline: float
    then: Callable[[], None]


class Catalogue:
    """The merged list of one kind.

    Args:
      servers: all there may be, in their order.
      patience: how long, in seconds, one of them may hold up the list.
      changed: called when the list is another one than the client has been told, though nobody has said so.
    """

    def __init__(
        self,
        kind: Kind,
        switchboard: Switchboard,
        servers: Sequence[str],
        patience: float,
        changed: Callable[[str], None],
    ) -> None:
        self.kind: Final = kind
        self.was_gathered = False
        self._switchboard = switchboard
        self._parts = {server: _Part() for server in servers}
        self._patience = patience
        self._changed = changed
        self._waiters: list[_Waiter] = []
        # What the client has been told before, though it may be called something else by now.
        self._former: dict[str, Owned] = {}
        self._names: dict[Owned, str] | None = None

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next."""
        waiting = min((waiter.deadline for waiter in self._waiters), default=math.inf)
        return min(waiting, *(part.retry_at for part in self._parts.values()))

    def gather(self, servers: Iterable[str], then: Callable[[], None]) -> None:
        """Ask these servers, and call `then` when they have answered, or have taken too long."""
        self.was_gathered = True
        missing: set[str] = set()
        for server in servers:
            part = self._parts[server]
            if part.coming is None:
                self._ask(server)
            if not part.is_late:
                missing.add(server)
        if missing:
            self._waiters.append(_Waiter(missing, self._switchboard.now + self._patience, then))
        else:
            then()

    def leave(self, server: str) -> None:
        """Show nothing more of a server that is gone."""
        part = self._parts[server]
        part.is_shown, part.retry_at = False, math.inf

    def assemble(self) -> bytes:
        """Return the list as JSON, and remember it as what the client has been told."""
        names = self._current_names()
        seen: set[str] = set()
        elements: list[bytes] = []
        for server, part in self._parts.items():
            if not part.is_shown:
                continue
            known = frozenset(seen)
            for page in part.pages:
                edits: dict[Path, bytes | Remove] = {}
                for index, key in enumerate(page.keys):
                    if type(key) is not str:
                        continue
                    if self.kind.is_renamed:
                        name = names[server, key]
                        self._tell(name, (server, key))
                        if name != key:
                            edits[index, self.kind.key] = encode(name)
                    elif key in known:
                        edits[index,] = REMOVE
                    seen.add(key)
                array = (splice(page.array, edits) if edits else page.array)[1:-1].strip()
                if array:
                    elements.append(array)
        return b"[" + b",".join(elements) + b"]"

    def find_owner(self, key: str) -> Owned | None:
        """Return whose element is known to the client by `key`, and what the owner calls it.

        What it has been called before, and its name with the prefix of its server, are understood as well, as long as
        nothing else is called that now.
        """
        names = self._current_names()
        current = [owned for owned, name in names.items() if name == key]
        if current:
            return current[0]
        if key in self._former:
            return self._former[key]
        return next((owned for owned in names if prefixed(*owned) == key), None)

    def owners(self) -> list[Owned]:
        """Return every element, with its server, in the order of the servers."""
        return [(server, key) for server, part in self._parts.items() if part.is_shown for key in part.keys]

    def wake(self, present: Iterable[str]) -> None:
        """Wait no longer for those who have taken too long, and ask again those whose time has come."""
        now = self._switchboard.now
        for waiter in [waiter for waiter in self._waiters if waiter.deadline <= now]:
            self._waiters.remove(waiter)
            for server in sorted(waiter.missing):
                self._parts[server].is_late = True
                self._switchboard.note(f"{server}: no answer to {self.kind.method} within {self._patience:g} s")
            waiter.then()
        here = set(present)
        for server, part in self._parts.items():
            if part.retry_at <= now:
                part.retry_at = math.inf
                if server in here and part.coming is None:
                    part.is_late = True
                    self._ask(server)

    # One server's pages

    def _ask(self, server: str, cursor: str | None = None) -> None:
        part = self._parts[server]
        if part.coming is None:
            part.coming = []
            part.retry_at = math.inf
        params = {} if cursor is None else {"cursor": cursor}
        self._switchboard.ask(server, self.kind.method, encode(params), lambda response: self._take(server, response))

    def _take(self, server: str, response: Response | None) -> None:
        part = self._parts[server]
        if part.coming is None:
            return
        try:
            cursor = self._read_page(part.coming, response)
        except _NoList as reason:
            self._switchboard.note(f"{server}: no answer to {self.kind.method}: {reason}")
            part.is_shown = False
            if response is not None:
                part.retry_at = self._switchboard.now + part.pause
                part.pause = min(2 * part.pause, _LONGEST_PAUSE)
            self._settle(server)
            return
        if cursor is not None:
            if len(part.coming) < _MOST_PAGES and sum(len(page.array) for page in part.coming) < _MOST_BYTES:
                self._ask(server, cursor)
                return
            self._switchboard.note(
                f"{server}: {self.kind.method} goes on after {len(part.coming)} pages; the rest is left out"
            )
        is_news = part.is_late and not (part.is_shown and part.pages == part.coming)
        part.pages, part.is_shown, part.pause = part.coming, True, _FIRST_PAUSE
        self._names = None
        self._settle(server)
        if is_news:
            self._changed(self.kind.capability)

    def _read_page(self, pages: list[_Page], response: Response | None) -> str | None:
        """Add a page to those of a server; return the cursor of the next one.

        Raises:
          _NoList: it is none.
        """
        if response is None:
            raise _NoList("it has ended")
        try:
            if response.is_error:
                error = parse_error(response)
                if error.get("code") == METHOD_NOT_FOUND:
                    return None
                raise _NoList(str(error.get("message")))
            result = parse_result(response)
            array = cut_out(response.raw, ("result", self.kind.member))
        except ParseError as error:
            raise _NoList(str(error)) from None
        listed = result.get(self.kind.member) if type(result) is dict else None
        if array is None or type(listed) is not list:
            raise _NoList(f"no array {self.kind.member!r} in its result")
        pages.append(_Page(array, [item.get(self.kind.key) if type(item) is dict else None for item in listed]))
        cursor = result.get("nextCursor")
        return cursor if type(cursor) is str else None

    def _settle(self, server: str) -> None:
        part = self._parts[server]
        part.coming, part.is_late = None, False
        for waiter in list(self._waiters):
            waiter.missing.discard(server)
            if not waiter.missing:
                self._waiters.remove(waiter)
                waiter.then()

    def _current_names(self) -> dict[Owned, str]:
        if self._names is None:
            lists = {server: part.keys for server, part in self._parts.items()}
            if self.kind.is_renamed:
                self._names = shown_names(lists)
            else:
                self._names = {(server, key): key for server, keys in lists.items() for key in keys}
        return self._names

    def _tell(self, name: str, owned: Owned) -> None:
        self._former[name] = owned
        if len(self._former) > _MOST_FORMER:
            del self._former[next(iter(self._former))]


class _NoList(Exception):
    """A server has not answered with a list; why not."""
