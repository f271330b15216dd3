"""Lists, readings, results and cancelling of runs, and the tools that are offered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry
from orchkit.registry.signature import ParameterSpec

# --- lists ---------------------------------------------------------------------------------


def run_many(api: Any, count: int, name: str = "many", tool: str = "wait") -> list[str]:
    """Runs that have ended, the first first."""
    flow = api.kit.workflow(name).add_step(tool).build()
    return [api.kit.run(flow).run_id for _ in range(count)]


def test_a_list_is_paged_by_cursor(api: Any) -> None:
    """Following the cursors gives each run once, the newest first, also while new ones begin."""
    ids = run_many(api, 7)
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = api.ask("GET", f"/runs?limit=3{cursor}").json()
        assert len(page["runs"]) <= 3
        seen += [run["run_id"] for run in page["runs"]]
        run_many(api, 1)
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]


def test_lists_are_filtered(api: Any) -> None:
    """Status (several), name, kind and time choose what is listed."""
    good, bad = run_many(api, 2, "good"), run_many(api, 1, "bad", "fail")
    asyncio.run(api.kit.dispatch(ok.Request("add", {"a": 1})))
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    long_ago = "2020-01-01T00:00:00Z"

    def listed(query: str) -> list[str]:
        return [run["run_id"] for run in api.ask("GET", f"/runs?{query}").json()["runs"]]

    assert listed("status=failed") == bad
    assert sorted(listed("status=failed&status=success")) == sorted(good + bad)
    assert listed("name=good") == good[::-1]
    assert listed("name=goo") == []
    assert listed(f"since={later}") == []
    assert len(listed(f"since={long_ago}")) == 3
    assert len(listed("kind=operation")) == 1
    assert len(listed("kind=all")) == 4


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "status=done",
        "kind=mine",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "cursor=x",
        "cursor=%00",
        "cursor=W10",
        "cursor=WzEsICJ4Il0",
        "cursor=Wy0xLCJydW5fMSIsImFiIl0",
        f"cursor={'x' * 600}",
        f"name={'x' * 300}",
    ],
)
def test_queries_that_mean_nothing_are_refused(api: Any, query: str) -> None:
    """A parameter that cannot be read is 422 and named."""
    answer = api.ask("GET", f"/runs?{query}")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["where"].startswith(f"query.{query.partition('=')[0]}")


def test_a_cursor_is_of_one_list(api: Any) -> None:
    """The cursor of one list means nothing in another one."""
    run_many(api, 3)
    cursor = api.ask("GET", "/runs?limit=1").json()["next_cursor"]
    answer = api.ask("GET", f"/runs?limit=1&name=many&cursor={cursor}")
    assert answer.status_code == 422
    assert "other filters" in answer.json()["problems"][0]["cause"]


def test_pages_have_a_limit(make_api: Any) -> None:
    """A page is no longer than the operator allows, whatever is asked for."""
    api = make_api(max_page=2)
    run_many(api, 3)
    page = api.ask("GET", "/runs?limit=1000").json()
    assert len(page["runs"]) == 2
    assert page["next_cursor"]


# --- one run -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/status", "/result", "/events"])
def test_unknown_runs_are_not_found(api: Any, path: str) -> None:
    """What is asked of a run that is not there is 404; the begin of an id is no id."""
    run_id = run_many(api, 1)[0]
    for unknown in ("run_0", run_id[:-1], "%00", "x" * 200):
        answer = api.ask("GET", f"/runs/{unknown}{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert api.ask("POST", "/runs/run_0/cancel").status_code == 404


def test_a_run_is_read_while_it_goes_on(api: Any, step: Any) -> None:
    """A run that goes on is read with its definition and how its steps stand."""
    run_id = api.submit(step("add", params={"a": 1}), step("hold", depends_on=["add"])).json()["run_id"]
    api.until(lambda: "hold" in api.calls)
    found = api.ask("GET", f"/runs/{run_id}").json()
    assert (found["status"], found["cut_off"], found["finished_at"]) == ("running", False, None)
    assert {one["step_id"]: one["status"] for one in found["steps"]} == {"add": "success", "hold": "running"}
    assert Workflow.from_dict(found["definition"]).steps[1].depends_on == ("add",)
    standing = api.ask("GET", f"/runs/{run_id}/status").json()
    assert standing["steps"] == {"success": 1, "running": 1}
    result = api.ask("GET", f"/runs/{run_id}/result").json()["result"]
    assert (result["status"], result["steps"]["add"]["output"]) == ("running", 2)


def test_a_result_has_the_names_of_the_documents(api: Any, step: Any) -> None:
    """The result has status, times and outputs of run and steps, and what happened, line by line."""
    steps = (step("add", params={"a": 1}), step("fail"), step("wait", depends_on=["fail"]))
    run_id = api.submit(*steps, error_handling="continue_on_failure").json()["run_id"]
    api.until_over(run_id)
    found = api.ask("GET", f"/runs/{run_id}/result").json()
    result, log = found["result"], found["execution_log"]
    assert set(found) == {"result", "execution_log"}
    assert (result["run_id"], result["status"], result["name"]) == (run_id, "partial", "flow")
    assert result["workflow_id"].startswith("wf_")
    assert result["steps"]["add"]["output"] == 2
    assert result["steps"]["fail"]["error"] == "ValueError: no"
    assert result["steps"]["wait"]["status"] == "skipped"
    assert {"started_at", "completed_at", "duration_ms"} <= set(result["steps"]["add"])
    assert "flow begins" in log[0]
    assert "partial" in log[-1]


def test_of_a_long_log_the_last_lines_are_there(make_api: Any, step: Any) -> None:
    """An execution log has a limit; its end is what is kept."""
    api = make_api(max_log_lines=3)
    run_id = api.submit(step("add", params={"a": 1})).json()["run_id"]
    api.until_over(run_id)
    log = api.ask("GET", f"/runs/{run_id}/result").json()["execution_log"]
    assert len(log) == 3
    assert "flow succeeded" in log[-1]


def test_odd_values_are_valid_json(api: Any) -> None:
    """NaN, large values and text of any kind come as JSON that any client can read."""
    values = {
        "nan": float("nan"),
        "large": "x" * 100_000,
        "text": "\u2028 \x00 \U0001f600 \ud83d",
        "deep": [[[1]]],
    }
    api.kit.registry.methods.register_method(lambda: values, name="odd")
    run_id = api.kit.run(api.kit.workflow("odd").add_step("odd").build()).run_id
    output = api.ask("GET", f"/runs/{run_id}/result").json()["result"]["steps"]["odd"]["output"]
    assert output == {**values, "nan": "nan", "text": "\u2028 \x00 \U0001f600 ?"}


# --- cancelling ----------------------------------------------------------------------------


def test_cancelling_again_changes_nothing(api: Any, step: Any) -> None:
    """A run that goes on is cancelled, once; asked again, also when it is over, the answer is the same."""
    run_id = api.submit(step("wait", params={"seconds": 30})).json()["run_id"]
    answers = [api.ask("POST", f"/runs/{run_id}/cancel") for _ in range(2)]
    assert api.until_over(run_id) == "cancelled"
    answers.append(api.ask("POST", f"/runs/{run_id}/cancel"))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert answers[0].status_code == 202
    assert (answers[2].status_code, answers[2].json()) == (200, {"run_id": run_id, "status": "cancelled"})
    reasons = [event.payload.get("reason") for event in api.kit.store.events(run_id)]
    assert "cancelled over HTTP" in reasons


def test_what_is_over_cannot_be_cancelled(api: Any) -> None:
    """A run that has ended otherwise is 409, with how it ended."""
    answer = api.ask("POST", f"/runs/{run_many(api, 1)[0]}/cancel")
    assert answer.status_code == 409
    assert (answer.json()["type"], answer.json()["run_status"]) == (
        "urn:orchkit:problem:run-is-over",
        "success",
    )


def test_runs_of_others_cannot_be_cancelled(api: Any) -> None:
    """A run that was not submitted here goes on: 409."""
    handle = api.kit.start(api.kit.workflow("mine").add_step("hold").build())
    api.until(lambda: "hold" in api.calls)
    answer = api.ask("POST", f"/runs/{handle.run_id}/cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:orchkit:problem:run-is-not-ours")
    api.gate.set()
    assert handle.result(20).success


KILLED = """
import os, sys
import orchkit as ok

kit = ok.open(sys.argv[1])

def die() -> None:
    os._exit(9)

kit.registry.methods.register_method(die)
kit.run(kit.workflow("doomed").add_step("die").build())
"""


def test_runs_of_a_process_that_was_killed_are_told_as_such(make_api: Any, tmp_path: Path) -> None:
    """A run whose process was killed is told as cut off, cannot be cancelled, and its events end."""
    path = tmp_path / "runs.duckdb"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    api = make_api(ok.open(path, registry=Registry()))
    run = api.ask("GET", "/runs").json()["runs"][0]
    assert (run["name"], run["status"], run["cut_off"]) == ("doomed", "running", True)
    assert api.ask("GET", f"/runs/{run['run_id']}/status").json()["cut_off"] is True
    refused = api.ask("POST", f"/runs/{run['run_id']}/cancel").json()
    assert refused["type"] == "urn:orchkit:problem:run-is-cut-off"
    text = api.ask("GET", f"/runs/{run['run_id']}/events").text
    assert "event: attempt.started" in text
    assert text.endswith('event: cut_off\ndata: {"cut_off":true}\n\n')


KEYED = """
import json, os, sys
import orchkit as ok

kit = ok.open(sys.argv[1])

def die(a: int) -> int:
    os._exit(9)

kit.registry.methods.register_method(die)
kit.run(ok.Workflow.from_dict(json.loads(sys.argv[2])), idempotency_key="k")
"""


def test_what_a_killed_process_left_behind_goes_on_under_its_key(
    make_api: Any, tmp_path: Path, definition: Any, step: Any
) -> None:
    """A request with the key of a run whose process was killed goes on with that run, and names it."""
    path = tmp_path / "runs.duckdb"
    flow = definition(step("die", params={"a": 1}))
    subprocess.run([sys.executable, "-c", KEYED, str(path), json.dumps(flow)], timeout=60, check=False)
    registry = Registry()
    registry.methods.register_method(lambda a: a + 1, name="die")
    api = make_api(ok.open(path, registry=registry), tools=("die",))
    doomed = api.ask("GET", "/runs").json()["runs"][0]
    assert doomed["cut_off"] is True
    answer = api.submit(step("die", params={"a": 1}), headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["run_id"]) == (202, doomed["run_id"])
    assert api.until_over(doomed["run_id"]) == "success"
    again = api.submit(step("die", params={"a": 1}), headers={"Idempotency-Key": "k"})
    assert again.json() == {**answer.json(), "status": "success", "replayed": True}


# --- tools ---------------------------------------------------------------------------------


def test_tools_are_listed_with_their_schemas(make_api: Any) -> None:
    """The list has what is offered and nothing else, each with the JSON schema of its parameters."""
    api = make_api(tools=("mail.*", "add"))
    tools = {tool["name"]: tool for tool in api.ask("GET", "/tools").json()["tools"]}
    assert sorted(tools) == ["add", "mail.send", "mail.unsend"]
    assert tools["mail.send"]["description"] == "Send a message."
    assert (tools["mail.send"]["category"], tools["mail.send"]["tags"]) == ("mail", ["out"])
    schema = tools["mail.send"]["parameters"]
    assert schema["required"] == ["to"]
    assert schema["properties"]["to"]["description"] == "Whom to write to."
    assert schema["properties"]["subject"]["default"] == "none"


class Mailbox:
    """A service."""


def test_services_are_no_parameters(make_api: Any) -> None:
    """What a kit injects is not asked of clients; a tool's own parameters are those that are told."""
    kit = ok.open(registry=Registry())
    kit.services.register(Mailbox, Mailbox())

    def inspect(box: Mailbox, folder: str = "inbox") -> str:
        """Look into a folder."""
        return folder

    kit.registry.methods.register_method(inspect)
    kit.registry.tools.register_tool("peek", "inspect", parameters=[ParameterSpec("folder", str)])
    api = make_api(kit, tools=("inspect", "peek"))
    tools = {tool["name"]: tool["parameters"] for tool in api.ask("GET", "/tools").json()["tools"]}
    assert list(tools["inspect"]["properties"]) == list(tools["peek"]["properties"]) == ["folder"]
    assert tools["peek"]["required"] == ["folder"]


def test_what_is_registered_later_is_listed(make_api: Any) -> None:
    """The list follows the registry; a tool that cannot be imported is listed as such and breaks nothing."""
    api = make_api(tools=("*",))
    before = {tool["name"] for tool in api.ask("GET", "/tools").json()["tools"]}
    api.kit.registry.tools.register_tool("late", "no_such_module_of_ours:function")
    after = {tool["name"]: tool for tool in api.ask("GET", "/tools").json()["tools"]}
    assert after.keys() - before == {"late"}
    assert "cannot be used" in after["late"]["description"]


def test_nothing_is_offered_unless_it_is_listed(make_api: Any) -> None:
    """Without a list there are no tools."""
    assert make_api(tools=()).ask("GET", "/tools").json() == {"tools": []}
