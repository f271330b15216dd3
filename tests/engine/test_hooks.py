"""Hooks: who is told what, when one of them fails, and those that are built in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from orchkit.engine.dispatch import default_hooks
from orchkit.engine.hooks import Hook, HookManager
from orchkit.errors import HookError, RegistrationError, UnknownNameError
from orchkit.model.policy import OperationPolicy


class Listener(Hook):
    """Writes down each stage that it is told of, then does as told itself."""

    def __init__(self, log: list[str], name: str, fails_in: str = "", *, required: bool = False) -> None:
        self.log, self.name, self.fails_in, self.required = log, name, fails_in, required

    def before(self, call: Any) -> None:
        self._tell("before")

    def after(self, call: Any, response: Any) -> None:
        self._tell("after")

    def failed(self, call: Any, error: BaseException) -> None:
        self._tell("failed")

    def _tell(self, stage: str) -> None:
        self.log.append(f"{self.name} {stage}")
        if stage == self.fails_in:
            raise RuntimeError(f"{self.name} is broken")


@pytest.fixture
def log() -> list[str]:
    """What the hooks were told."""
    return []


def lab_with(make_lab: Any, hooks: dict[str, Any]) -> Any:
    """A lab with these hooks on everything, a tool ``work`` and a tool ``fail``."""
    lab = make_lab(hooks=HookManager(hooks), policies=[OperationPolicy(hooks=tuple(hooks))])

    async def work(n: int = 0) -> int:
        return n

    async def fail() -> None:
        raise ValueError("no")

    lab.tool(work, domain="desk")
    lab.tool(fail, domain="desk")
    return lab


def test_hooks_are_told_in_the_order_of_the_policy(make_lab: Any, log: list[str]) -> None:
    """Before and after, or before and failed."""
    lab = lab_with(make_lab, {name: Listener(log, name) for name in "abc"})
    lab.dispatch("work")
    assert log == ["a before", "b before", "c before", "a after", "b after", "c after"]
    log.clear()
    lab.dispatch("fail")
    assert log[3:] == ["a failed", "b failed", "c failed"]


@pytest.mark.parametrize(
    ("stage", "operation", "status"),
    [("before", "work", "success"), ("after", "work", "success"), ("failed", "fail", "failed")],
)
def test_a_hook_that_raises_leaves_an_event_and_nothing_else(
    make_lab: Any, log: list[str], stage: str, operation: str, status: str
) -> None:
    """The operation goes on, and the other hooks are told as well."""
    lab = lab_with(make_lab, {"bad": Listener(log, "bad", stage), "good": Listener(log, "good")})
    response = lab.dispatch(operation)
    assert response.status == status
    assert f"good {stage}" in log
    (event,) = lab.events(response.metadata["run_id"], "hook.failed")
    assert event.payload == {
        "hook": "bad",
        "stage": stage,
        "error": "RuntimeError: bad is broken",
        "required": False,
    }
    assert event.step_id == operation


@pytest.mark.parametrize("stage", ["before", "after"])
def test_a_required_hook_that_raises_fails_the_operation(make_lab: Any, log: list[str], stage: str) -> None:
    """Its error is the operation's, with the cause; the event says that it was required."""
    lab = lab_with(make_lab, {"bad": Listener(log, "bad", stage, required=True)})
    response = lab.dispatch("work")
    assert response.status == "failed"
    assert isinstance(response.exception, HookError)
    assert (response.exception.hook, response.exception.stage) == ("bad", stage)
    assert isinstance(response.exception.__cause__, RuntimeError)
    (event,) = lab.events(response.metadata["run_id"], "hook.failed")
    assert event.payload["required"] is True
    result = lab.execute(lab.flow().add_step("work", retry=5))
    assert "required hook 'bad'" in str(result.steps["work"].error)
    assert len(lab.attempts(result.run_id, "work")) == (0 if stage == "before" else 1)


def test_a_failed_operation_keeps_its_own_error(make_lab: Any, log: list[str]) -> None:
    """A required hook that raises when it is told of a failure does not hide what failed."""
    lab = lab_with(
        make_lab, {"bad": Listener(log, "bad", "failed", required=True), "good": Listener(log, "good")}
    )
    response = lab.dispatch("fail")
    assert response.error == "ValueError: no"
    assert log[-1] == "good failed"
    assert len(lab.events(None, "hook.failed")) == 1


def test_hooks_may_be_async(make_lab: Any, log: list[str]) -> None:
    """They are awaited, one after the other."""

    class Slow(Hook):
        async def before(self, call: Any) -> None:
            await asyncio.sleep(0)
            log.append("slow before")

        async def after(self, call: Any, response: Any) -> None:
            await asyncio.sleep(0)
            log.append("slow after")

    lab = lab_with(make_lab, {"slow": Slow(), "quick": Listener(log, "quick")})
    lab.dispatch("work")
    assert log == ["slow before", "quick before", "slow after", "quick after"]


def test_any_object_with_a_stage_is_a_hook(make_lab: Any, log: list[str]) -> None:
    """No base class is needed, and stages that are not there are not called."""
    hook = SimpleNamespace(after=lambda call, response: log.append(f"{call.step_id} {response.output}"))
    lab = lab_with(make_lab, {"plain": hook})
    lab.execute(lab.flow().add_step("work", {"n": 5}, step_id="five"))
    lab.dispatch("fail")
    assert log == ["five 5"]


def test_an_object_without_any_stage_is_refused() -> None:
    """The error names the stages that there are."""
    with pytest.raises(RegistrationError, match="at least one of the methods before, after, failed"):
        HookManager({"nothing": object()})


def test_hooks_are_known_by_name() -> None:
    """A later hook of the same name replaces the first; an unknown name has suggestions."""
    manager = HookManager({"audit": Hook()})
    later = Hook()
    manager.register_hook("audit", later)
    assert manager.get_hook("audit") is later
    assert manager.names == ("audit",)
    with pytest.raises(UnknownNameError, match="unknown hook 'audti'; did you mean 'audit'"):
        manager.get_hook("audti")


def test_a_policy_that_names_an_unknown_hook_fails_its_operations(make_lab: Any) -> None:
    """The response says which hook is unknown."""
    lab = make_lab(hooks=HookManager({}), policies=[OperationPolicy(hooks=("adit",))])
    lab.tool(lambda: 1, name="work")
    assert "unknown hook 'adit'" in str(lab.dispatch("work").error)


@pytest.mark.parametrize(
    ("skip", "mode", "chosen"),
    [
        ((), "normal", ("a", "b", "guard")),
        (("a",), "normal", ("b", "guard")),
        (("a", "guard"), "normal", ("b",)),
        (("*",), "normal", ()),
        (("nobody",), "normal", ("a", "b", "guard")),
        ((), "dry_run", ("guard",)),
        (("guard",), "dry_run", ()),
    ],
)
def test_filtering_hooks(skip: tuple[str, ...], mode: str, chosen: tuple[str, ...]) -> None:
    """Skipped are those that are named, all with a star, and in a dry run those that are not required."""
    guard = Hook()
    guard.required = True
    manager = HookManager({"a": Hook(), "b": Hook(), "guard": guard})
    assert manager.filter_hooks(["a", "b", "guard"], skip, mode).names == chosen


def test_replacing_a_hook_takes_effect_at_once(make_lab: Any, log: list[str]) -> None:
    """Also for operations that have run before."""
    lab = lab_with(make_lab, {"a": Listener(log, "first")})
    lab.dispatch("work")
    lab.hooks.register_hook("a", Listener(log, "second"))
    lab.dispatch("work")
    assert log == ["first before", "first after", "second before", "second after"]


# --- built in ------------------------------------------------------------------------------


def test_metrics_count_calls_failures_and_time(make_lab: Any) -> None:
    """Per operation, over dispatches and workflow steps; a failed call has no time."""
    manager = default_hooks()
    lab = make_lab(hooks=manager)

    async def work(seconds: float, fails: bool = False) -> None:
        await lab.clock.sleep(seconds)
        if fails:
            raise ValueError

    lab.tool(work, domain="desk")
    lab.dispatch("work", {"seconds": 1})
    lab.dispatch("work", {"seconds": 9, "fails": True})
    lab.execute(lab.flow().add_map("work", [2, 3], {"seconds": "${item}"}))
    assert manager.get_hook("metrics").snapshot() == {
        "desk.work": {"calls": 4, "failures": 1, "mean_ms": 2000.0}
    }


def test_audit_says_who_did_what_to_which_casefile(make_lab: Any) -> None:
    """One event per operation with its outcome; the names of the parameters, not their values."""
    lab = make_lab(hooks=default_hooks(), policies=[OperationPolicy(hooks=("audit",))])

    async def open_file(name: str, secret: str = "") -> None:
        if not name:
            raise ValueError("no name")

    lab.tool(open_file, domain="casefile")
    facts = {"user_id": "u_1", "session_id": "ses_1", "casefile_id": "cf_1"}
    lab.dispatch("open_file", {"name": "a", "secret": "s3cret"}, **facts)
    lab.dispatch("open_file", {"name": ""}, **facts)
    first, second = (event.payload for event in lab.events(None, "audit"))
    assert first == {
        "operation": "casefile.open_file",
        "outcome": "success",
        **facts,
        "parameters": ["name", "secret"],
        "error": None,
    }
    assert (second["outcome"], second["error"]) == ("failed", "ValueError: no name")


def test_the_session_hook_tracks_operations_of_a_session(make_lab: Any) -> None:
    """Those with a session id, successful or not; others leave no trace."""
    lab = make_lab(hooks=default_hooks())

    async def work(fails: bool = False) -> None:
        if fails:
            raise ValueError

    lab.tool(work)
    lab.dispatch("work")
    lab.dispatch("work", session_id="ses_1")
    lab.dispatch("work", {"fails": True}, session_id="ses_1")
    lab.execute(lab.flow().add_step("work"), session_id="ses_2")
    assert [event.payload for event in lab.events(None, "session.execution")] == [
        {"session_id": "ses_1", "operation": "work", "status": "success"},
        {"session_id": "ses_1", "operation": "work", "status": "failed"},
        {"session_id": "ses_2", "operation": "work", "status": "success"},
    ]


def test_the_built_in_hooks_are_there_beside_those_of_the_user(make_lab: Any, log: list[str]) -> None:
    """The default policy names them; a hook of the same name takes the place of one."""
    own = Listener(log, "own")
    lab = make_lab(hooks=HookManager({"metrics": own}))
    lab.tool(lambda: 1, name="work")
    assert lab.dispatch("work").success
    assert log == ["own before", "own after"]
    assert set(lab.hooks.names) == {"metrics", "audit", "session_lifecycle"}
    assert lab.hooks.get_hook("metrics") is own


def test_metrics_and_sessions_are_on_by_default(make_lab: Any) -> None:
    """An operation without a policy of its own has both, and no audit."""
    lab = make_lab()
    lab.tool(lambda: 1, name="work")
    assert lab.dispatch("work").metadata["hooks"] == ("metrics", "session_lifecycle")
