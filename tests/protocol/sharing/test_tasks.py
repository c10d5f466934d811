"""Whose a task is, and that nobody else gets at it (2025-11-25, Tasks §Task Isolation and Access Control)."""

from __future__ import annotations

from typing import Any

import pytest

from trioproxy.protocol.sharing import tasks

from ...modern import request as modern_request
from ...puppet import notification, progress, request, response
from .party import EVERYTHING, Party, call, refused

RELATED = "io.modelcontextprotocol/related-task"


def made(task: str = "T", request_id: int | str = 1) -> Any:
    return response(request_id, task={"taskId": task, "status": "working"})


def about(method: str, task: str = "T", request_id: int | str = 5) -> Any:
    return request(method, request_id, taskId=task)


def party_with_task() -> Party:
    """Return a party of two, of whom A has made the task T, by request 2, and B has a request running."""
    party = Party("A", "B")
    party.shake_hands("A", "B", **EVERYTHING)
    assert party.ask("A", call(1, token="t", task={"ttl": 1000})) == 2
    assert party.tell(made("T", 2)) == {"A": [made()]}
    assert party.ask("B", call(1)) == 3
    return party


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
def test_a_task_is_there_for_whoever_has_made_it_and_for_nobody_else(method: str) -> None:
    party = party_with_task()
    for name, task in [("B", "T"), ("A", "U"), ("B", "U")]:
        said, heard = party.both(name, about(method, task))
        assert heard == []
        assert refused(said[name][0]) == (-32602, 5)
    number = party.ask("A", about(method))
    assert party.tell(response(number)) == {"A": [response(5)]}


@pytest.mark.parametrize("asked", [request("tasks/list", 5), modern_request("tasks/list", 5)])
def test_tasks_are_not_listed(asked: Any) -> None:
    said, heard = party_with_task().both("A", asked)
    assert heard == []
    assert refused(said["A"][0]) == (-32601, 5)


def test_to_claim_another_era_does_not_help() -> None:
    said, heard = party_with_task().both("B", modern_request("tasks/get", 5, taskId="T"))
    assert heard == []
    assert refused(said["B"][0]) == (-32602, 5)


def test_what_becomes_of_a_task_is_told_to_whoever_has_made_it() -> None:
    party = party_with_task()
    status = notification("notifications/tasks/status", taskId="T", status="working")
    assert party.tell(status) == {"A": [status]}
    assert party.tell(notification("notifications/tasks/status", taskId="U")) == {}
    assert party.tell(notification("notifications/tasks/status")) == {}
    for method in ("notifications/message", "notifications/odd"):
        related = notification(method, level="info", _meta={RELATED: {"taskId": "T"}})
        assert party.tell(related) == {"A": [related]}
        assert party.tell(notification(method, level="info", _meta={RELATED: {"taskId": "U"}})) == {}
        assert party.tell(notification(method, level="info", _meta={RELATED: 5})) == {}


def test_its_progress_goes_on_when_its_request_has_been_answered() -> None:
    """2025-11-25, Tasks §Task Progress Notifications."""
    party = party_with_task()
    assert party.tell(progress(2)) == {"A": [progress("t")]}
    assert party.tell(progress(3)) == {}


def test_a_question_that_is_related_to_a_task_is_for_whoever_has_made_it() -> None:
    """2025-11-25, Tasks §Associating Task-Related Messages; even while somebody else's request is running."""
    party = party_with_task()
    question = request("roots/list", "q", _meta={RELATED: {"taskId": "T"}})
    assert party.tell(question) == {"A": [question]}
    _, (answer,) = party.hear(request("roots/list", "p", _meta={RELATED: {"taskId": "U"}}))
    assert refused(answer) == (-32601, "p")


def test_who_leaves_takes_its_tasks_along() -> None:
    party = party_with_task()
    (heard,) = party.leave("A")
    assert heard == about("tasks/cancel", "T", heard["id"])
    assert party.tell(response(heard["id"])) == {}
    assert party.tell(notification("notifications/tasks/status", taskId="T")) == {}
    assert party.tell(progress(2)) == {}
    party.join("A")
    assert refused(party.both("A", about("tasks/get"))[0]["A"][0]) == (-32602, 5)


def test_a_task_that_is_made_for_somebody_who_has_left_is_cancelled() -> None:
    party = Party("A", "B")
    party.shake_hands("A", "B")
    assert party.ask("A", call(1, task={})) == 2
    assert party.leave("A") == []
    assert party.hear(made("T", 2)) == ({}, [about("tasks/cancel", "T", 3)])


@pytest.mark.parametrize("result", [{}, {"task": 5}, {"task": {}}, {"task": {"taskId": 5}}])
def test_a_request_for_a_task_may_be_answered_without_one(result: Any) -> None:
    party = Party("A")
    party.shake_hands("A")
    assert party.tell(response(party.ask("A", call(1, task={})), **result)) == {"A": [response(1, **result)]}


def test_a_task_does_not_change_hands() -> None:
    party = party_with_task()
    number = party.ask("B", call(2, task={}))
    party.tell(made("T", number))
    assert refused(party.both("B", about("tasks/get"))[0]["B"][0]) == (-32602, 5)
    party.ask("A", about("tasks/get"))


def test_the_oldest_tasks_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_TASKS", 1)
    party = party_with_task()
    party.tell(made("U", party.ask("A", call(2, task={}))))
    assert refused(party.both("A", about("tasks/get", "T"))[0]["A"][0]) == (-32602, 5)
    party.ask("A", about("tasks/get", "U"))
    assert party.tell(progress(2)) == {}


def test_where_there_was_no_handshake_tasks_are_what_the_modern_era_makes_of_them() -> None:
    party = Party("A")
    assert party.ask("A", modern_request("tasks/get", 1, taskId="T")) == 1
