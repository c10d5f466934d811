"""Events are kept for clients that resume: in memory, or where one likes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import wire
from tests.proxies import DEMO
from tests.serving import wait_until
from trioproxy import Archive, ChildConfig, Config, EventStore, InMemoryEventStore, ListenConfig, open_proxy


class Rows:
    """The events of one session, a row each."""

    def __init__(self, database: sqlite3.Connection, session: str) -> None:
        self.database = database
        self.session = session

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        rows = [(self.session, stream, number + n, message) for n, message in enumerate(messages)]
        self.database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)

    def kept(self, stream: int) -> range:
        query = "SELECT min(number), max(number) FROM events WHERE session = ? AND stream = ?"
        first, last = self.database.execute(query, (self.session, stream)).fetchone()
        return range(0) if first is None else range(first, last + 1)

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        query = "SELECT message FROM events WHERE session = ? AND stream = ? AND number >= ? ORDER BY number LIMIT 100"
        return [message for (message,) in self.database.execute(query, (self.session, stream, number))]

    def close(self) -> None:
        self.database.execute("DELETE FROM events WHERE session = ?", (self.session,))


class InDatabase(InMemoryEventStore):
    """Ten events of each session in memory, and the others in a database."""

    def __init__(self, path: Path) -> None:
        super().__init__(max_events=10)
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute(
            "CREATE TABLE events (session, stream, number, message, PRIMARY KEY (session, stream, number))"
        )

    def open_archive(self, tag: str) -> Archive:
        return Rows(self.database, tag)

    def __len__(self) -> int:
        count: int = self.database.execute("SELECT count(*) FROM events").fetchone()[0]
        return count


async def begin_and_leave(client: wire.Client, last: int) -> str:
    """Begin to count, leave after the first step, and return its event id."""
    async with client.open_post(wire.tool_call("count", 1, "token", to=last, delay_ms=1)) as stream:
        while (event := await stream.next_event()) is not None:
            if event.data:
                return str(event.id)
    raise AssertionError("nothing came")


def steps(messages: Sequence[Any]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "params" in message]


async def test_a_client_resumes_from_events_in_a_database(tmp_path: Path) -> None:
    store = InDatabase(tmp_path / "events")
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), event_store=store)
    with closing(store.database):
        async with open_proxy(config) as proxy:
            client = await wire.initialize(proxy.url)
            first = await begin_and_leave(client, last=200)
            await wait_until(lambda: len(store) > 180)
            async with client.listen(last_event_id=first) as stream:
                assert steps(await stream.rest()) == list(range(2, 201))
            await wire.request(proxy.url, "DELETE", client.headers)
            # The session takes along what was kept of it.
            await wait_until(lambda: len(store) == 0)


async def test_in_memory_there_is_an_end_to_it() -> None:
    store = InMemoryEventStore(max_events=10)
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), event_store=store)
    async with open_proxy(config) as proxy:
        client = await wire.initialize(proxy.url)
        first = await begin_and_leave(client, last=200)
        await client.call("count", 2, to=200, delay_ms=1)
        async with client.listen(last_event_id=first) as stream:
            assert stream.status == 400


class Counted:
    """A store of nothing: it counts, for each session, what clients could not resume from any more."""

    max_events = 10
    max_bytes = None

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}

    def open_archive(self, tag: str) -> Archive:
        return Count(self, tag)


class Count:
    """What was lost of one session."""

    def __init__(self, store: Counted, session: str) -> None:
        self.store = store
        self.session = session

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        self.store.lost[self.session] = self.store.lost.get(self.session, 0) + len(messages)

    def kept(self, stream: int) -> range:
        return range(0)

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        raise AssertionError("nothing was kept")

    def close(self) -> None:
        pass


async def test_a_store_is_whatever_has_its_methods() -> None:
    counted = Counted()
    store: EventStore = counted
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), event_store=store)
    async with open_proxy(config) as proxy:
        client = await wire.initialize(proxy.url)
        await client.call("count", 1, "token", to=200, delay_ms=1)
        (lost,) = counted.lost.values()
        # Of two hundred steps and an answer all but the last few, and what their reader had not taken yet at the end.
        assert 150 < lost <= 201 - 8
