"""Resumed runs by how they stood: cut off at work, failing, being cancelled, paused, undone; or ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchkit.errors import WorkflowExecutionError
from orchkit.model.request import ExecutionDirective


class Service:
    """Steps that say what they did, and fail as often as they are told."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.calls: list[str] = []
        self.failures: dict[str, int] = {}

    async def work(self, name: str, after: Any = None) -> str:
        """Take a second, then fail or not."""
        self.calls.append(name)
        await self.lab.clock.sleep(1)
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise ConnectionError(f"{name} is down")
        return f"{name} done"

    async def undo(self, name: str, after: Any = None) -> None:
        """Undo it, which takes a second, too."""
        self.calls.append(f"undo {name}")
        await self.lab.clock.sleep(1)

    def fail(self, name: str, times: int = 1_000_000) -> None:
        """Let a step fail, for good or some times."""
        self.failures[name] = times

    def heal(self) -> None:
        """From now on all is well; forget what was done."""
        self.failures.clear()
        self.calls.clear()


@pytest.fixture
def service(lab: Any) -> Service:
    """The tools ``work`` and ``undo``."""
    made = Service(lab)
    lab.tool(made.work, "work")
    lab.tool(made.undo, "undo")
    return made


def chain(lab: Any, names: str, **options: Any) -> Any:
    """Steps that wait for each other, each with these options."""
    flow = lab.flow()
    for before, name in zip(["", *names], names, strict=False):
        params = {"name": name, "after": f"${{steps.{before}}}"} if before else {"name": name}
        flow.add_step("work", params, step_id=name, **options)
    return flow


def statuses(result: Any) -> dict[str, str]:
    """By step id."""
    return {step_id: step.status for step_id, step in result.steps.items()}


# --- runs that had ended -------------------------------------------------------------------


@pytest.mark.parametrize("handling", ["stop_on_failure", "continue_on_failure"])
def test_what_did_not_succeed_is_tried_anew(lab: Any, service: Service, handling: Any) -> None:
    """What failed, and what was skipped over it; what succeeded is kept. Attempts are numbered on."""
    service.fail("b")
    flow = chain(lab, "abc", retry={"max_attempts": 2, "delay": 1}).with_error_handling(handling)
    ended = lab.execute(flow)
    assert ended.status == ("failed" if handling == "stop_on_failure" else "partial")
    service.heal()
    result = lab.go_on(ended.run_id)
    assert (result.status, result.error) == ("success", None)
    assert service.calls == ["b", "c"]
    assert result.outputs == {"a": "a done", "b": "b done", "c": "c done"}
    assert lab.attempts(ended.run_id, "b") == ["failed", "failed", "success"]
    assert lab.decisions(ended.run_id, "resume") == [(None, "resume", "try_again")]


def test_its_limits_are_fresh(lab: Any, service: Service) -> None:
    """Two attempts were made and two more may be; so again the next time."""
    service.fail("a")
    run_id = lab.execute(chain(lab, "a", retry={"max_attempts": 2, "delay": 1})).run_id
    for life in (2, 3, 4):
        assert lab.go_on(run_id).status == "failed"
        assert len(lab.attempts(run_id, "a")) == 2 * life
    service.fail("a", 1)
    assert lab.go_on(run_id).success
    assert len(lab.attempts(run_id, "a")) == 10


@pytest.mark.parametrize("event", ["run.resumed", "step.scheduled", "attempt.started", "attempt.finished"])
def test_a_run_that_is_tried_anew_and_cut_off_is_still_tried_anew(
    lab: Any, service: Service, event: str
) -> None:
    """Its failure belongs to the life before, and so do the attempts that it took."""
    service.fail("b")
    run_id = lab.execute(chain(lab, "abc", retry={"max_attempts": 3, "delay": 1})).run_id
    service.fail("b", 1)
    assert lab.go_on(run_id).success
    step_id, nth = (None, 1) if event == "run.resumed" else ("b", 2 if event == "step.scheduled" else 4)
    again = lab.cut_after(event, step_id, nth)
    service.heal()
    service.fail("b", 1)  # the fourth attempt was the first of three, the fifth is the second
    assert again.go_on(run_id).success
    assert service.calls == ["b", "b", "c"]


def test_a_cancelled_run_goes_on(lab: Any, service: Service) -> None:
    """What was cancelled and what was not begun by then."""

    async def cancelled() -> Any:
        task = asyncio.create_task(lab.aexecute(chain(lab, "abc")))
        await lab.clock.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    lab.run(cancelled())
    (started,) = lab.events(None, "run.started")
    assert service.calls == ["a", "b"]
    service.heal()
    result = lab.go_on(started.run_id)
    assert result.success
    assert service.calls == ["b", "c"]
    assert lab.attempts(started.run_id, "b") == ["cancelled", "success"]


def test_a_successful_run_is_not_run(lab: Any, service: Service) -> None:
    """The result is the recorded one, marked as replayed, and nothing is written."""
    done = lab.execute(chain(lab, "ab"), user_id="u_1")
    service.heal()
    count = len(lab.events())
    result = lab.resume(done.run_id)
    assert result.replayed
    assert (result.outputs, statuses(result)) == (done.outputs, statuses(done))
    assert [s.attempts for s in result.steps.values()] == [s.attempts for s in done.steps.values()]
    assert (result.started_us, result.finished_us) == (done.started_us, done.finished_us)
    assert service.calls == []
    assert len(lab.events()) == count


def test_steps_that_were_undone_are_done_again(lab: Any, service: Service) -> None:
    """A run that failed was undone; when it is tried again all of that, and what comes after, runs again."""
    service.fail("d")
    flow = lab.flow()
    flow.add_step("work", {"name": "a"}, step_id="a")
    flow.add_step("work", {"name": "b", "after": "${steps.a}"}, step_id="b", compensate="undo")
    flow.add_step("work", {"name": "c", "after": "${steps.b}"}, step_id="c")
    flow.add_step("work", {"name": "d", "after": "${steps.c}"}, step_id="d")
    run_id = lab.execute(flow).run_id
    assert service.calls == ["a", "b", "c", "d", "undo b"]
    service.heal()
    service.fail("d")
    assert lab.go_on(run_id).status == "failed"
    assert service.calls == ["b", "c", "d", "undo b"]
    service.heal()
    assert lab.go_on(run_id).success
    assert service.calls == ["b", "c", "d"]
    assert lab.states()[run_id].steps["compensate:b"].status == "pending"  # of the life before last


def test_steps_that_were_undone_are_done_again_whenever_it_is_cut_off(lab: Any, service: Service) -> None:
    """Also when the run that does them again is cut off before it comes to it, and when it fails again."""
    service.fail("c")
    flow = chain(lab, "abc", compensate="undo")
    run_id = lab.execute(flow).run_id
    before = len(lab.events())
    assert lab.go_on(run_id).status == "failed"
    for count in range(before + 1, len(lab.events()) - 1):
        again = lab.cut(count)
        state = again.states()[run_id]
        done = {s for s, step in state.steps.items() if step.status == "success"}
        service.calls.clear()
        result = again.go_on(run_id)
        assert result.status == "failed"
        expected = [name for name in "ab" if name not in done]
        if "c" not in {s for s, step in state.steps.items() if step.status == "failed"}:
            expected.append("c")
        expected += [f"undo {name}" for name in "ba" if f"compensate:{name}" not in done]
        assert service.calls == expected, count


# --- runs that were cut off ----------------------------------------------------------------


ATTEMPTS = [
    # allowed, cut off in, failures after that, attempts in all, whether it succeeds
    (1, 1, 0, 2, True),
    (1, 1, 1, 2, False),
    (2, 1, 0, 2, True),
    (2, 1, 1, 2, False),
    (2, 2, 0, 3, True),
    (2, 2, 1, 3, False),
    (3, 1, 0, 2, True),
    (3, 1, 1, 3, True),
    (3, 1, 2, 3, False),
    (3, 2, 0, 3, True),
    (3, 2, 1, 3, False),
    (3, 3, 0, 4, True),
    (3, 3, 1, 4, False),
]


@pytest.mark.parametrize(("allowed", "cut_in", "failures", "attempts", "success"), ATTEMPTS)
def test_attempts_before_a_crash_count(
    lab: Any, service: Service, allowed: int, cut_in: int, failures: int, attempts: int, success: bool
) -> None:
    """Towards the limit of retries, those in doubt too; one attempt is made in any case."""
    service.fail("a", cut_in - 1)
    run_id = lab.execute(chain(lab, "a", retry={"max_attempts": allowed, "delay": 1})).run_id
    rest = lab.cut_after("attempt.started", "a", cut_in)
    service.heal()
    service.fail("a", failures)
    assert rest.go_on(run_id).success is success
    assert rest.attempts(run_id, "a")[:cut_in] == ["failed"] * (cut_in - 1) + ["running"]
    assert len(rest.attempts(run_id, "a")) == attempts
    last = rest.decisions(run_id, "retry")[-1:]
    assert success or allowed == 1 or last == [("a", "retry", "give_up")]


def test_each_attempt_that_is_in_doubt_is_told_of(lab: Any, service: Service) -> None:
    """There may be several of one step: a slow one, and another that was begun beside it."""
    run_id = lab.execute(chain(lab, "a")).run_id
    rest = lab.cut_after("attempt.started", "a")
    for number in (2, 3):
        rest.store.append("attempt.started", "{}", run_id=run_id, step_id="a", attempt=number)
    rest.store.append("attempt.finished", '{"status": "failed"}', run_id=run_id, step_id="a", attempt=3)
    rest.store.commit()
    assert rest.go_on(run_id).success
    told = [d.attempt for d in rest.states()[run_id].decisions if (d.point, d.step_id) == ("resume", "a")]
    assert told == [1, 2]
    attempts = [(a.number, a.status) for a in rest.states()[run_id].steps["a"].attempts]
    assert attempts == [(1, "in_doubt"), (2, "in_doubt"), (3, "failed"), (4, "success")]


def test_a_run_that_was_being_cancelled_goes_on(lab: Any, service: Service) -> None:
    """Who resumes it wants it to go on; steps that had been cancelled by then run again."""

    async def cancelled() -> None:
        task = asyncio.create_task(lab.aexecute(lab.flow(mode="parallel").add_step("work", {"name": "a"})))
        await lab.clock.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    lab.run(cancelled())
    run_id = lab.events(None, "run.started")[0].run_id
    for event, step in (("run.cancelled", None), ("attempt.finished", "work"), ("step.finished", "work")):
        rest = lab.cut_after(event, step)
        service.heal()
        assert rest.go_on(run_id).success
        assert service.calls == ["a"]


def test_a_run_that_was_paused_goes_on(lab: Any, service: Service) -> None:
    """Resuming it means just that."""

    async def paused() -> None:
        handle = lab.engine.start(chain(lab, "ab").build())
        handle.pause()
        while not lab.events(None, "run.paused"):
            lab.store.commit()
            await asyncio.sleep(0.001)
        handle.resume()
        await handle

    lab.run(paused())
    (pause,) = lab.events(None, "run.paused")
    rest = lab.cut_after("run.paused")
    assert rest.states()[pause.run_id].status == "paused"
    service.heal()
    result = rest.go_on(pause.run_id)
    assert result.success
    assert rest.states()[pause.run_id].status == "success"


def test_what_had_failed_stays_failed(lab: Any, service: Service) -> None:
    """A run that was cut off after a step had failed for good goes on from there: it is not tried again."""
    service.fail("b")
    flow = lab.flow().with_error_handling("continue_on_failure")
    flow.add_step("work", {"name": "a"}, step_id="a")
    flow.add_step("work", {"name": "b"}, step_id="b")
    flow.add_step("work", {"name": "c", "after": "${steps.b}"}, step_id="c")
    flow.add_step("work", {"name": "d", "after": "${steps.a}"}, step_id="d")
    ended = lab.execute(flow)
    rest = lab.cut_after("attempt.started", "d")
    service.heal()
    result = rest.go_on(ended.run_id)
    assert statuses(result) == statuses(ended)
    assert (result.status, result.error) == (ended.status, ended.error)
    assert result.steps["b"].error == ended.steps["b"].error
    assert service.calls == ["d"]
    with pytest.raises(WorkflowExecutionError, match="step 'b' failed on attempt 1: ConnectionError"):
        result.raise_for_status()


def test_what_is_in_doubt_when_the_run_had_failed_is_left(lab: Any, service: Service) -> None:
    """Nothing new is begun after a failure, neither is what may have had its effect; it is said so."""
    service.fail("a")
    flow = lab.flow(mode="parallel")
    flow.add_step("work", {"name": "a"}, step_id="a")
    flow.add_map("work", ["x", "y"], {"name": "${item}"}, step_id="m", max_concurrency=1)
    ended = lab.execute(flow)
    rest = lab.cut_after("step.finished", "a")
    service.heal()
    result = rest.go_on(ended.run_id)
    assert (result.status, result.error) == ("failed", ended.error)
    assert service.calls == []
    assert statuses(result) == {"a": "failed", "m": "skipped"}
    (decision,) = [
        d for d in rest.states()[ended.run_id].decisions if (d.point, d.step_id) == ("resume", "m[0]")
    ]
    assert decision.decision == "leave"
    assert decision.rationale == (
        "attempt 1 had begun when its process ended: whether it took effect is not known; "
        "it is left at that, because 'a' had failed"
    )
    assert rest.go_on(ended.run_id).success  # and the next time all of it is tried
    assert service.calls == ["a", "x", "y"]


# --- maps ----------------------------------------------------------------------------------


def test_items_are_kept_one_by_one(lab: Any, service: Service) -> None:
    """Those whose results are on record; also when the run is cut off again before it came to the map."""
    flow = lab.flow(mode="sequential").add_step("work", {"name": "first"}, step_id="first")
    flow.add_map("work", list("abcdef"), {"name": "${item}"}, step_id="m", max_concurrency=2)
    done = lab.execute(flow)
    rest = lab.cut_after("step.finished", "m[3]")
    service.heal()
    assert rest.go_on(done.run_id).outputs == done.outputs
    assert service.calls == ["e", "f"]
    again = rest.cut_after("run.resumed")
    service.heal()
    assert again.go_on(done.run_id).outputs == done.outputs
    assert service.calls == ["e", "f"]


@pytest.mark.parametrize("handling", ["stop_on_failure", "continue_on_failure"])
def test_an_item_that_had_failed_for_good_stays_failed(lab: Any, service: Service, handling: Any) -> None:
    """Its attempts are used up; the others are finished first or left, as the run handles errors."""
    service.fail("b")
    flow = lab.flow().with_error_handling(handling)
    retry = {"max_attempts": 2, "delay": 0.1}
    flow.add_map("work", list("abcd"), {"name": "${item}"}, step_id="m", max_concurrency=2, retry=retry)
    ended = lab.execute(flow)
    rest = lab.cut_after("step.finished", "m[1]")
    service.heal()
    result = rest.go_on(ended.run_id)
    assert result.status == ended.status
    assert result.steps["m"].error == ended.steps["m"].error
    assert service.calls == ([] if handling == "stop_on_failure" else ["d"])
    assert rest.attempts(ended.run_id, "m[1]") == ["failed", "failed"]
    service.heal()
    assert rest.go_on(ended.run_id).success
    assert service.calls == (["b", "d"] if handling == "stop_on_failure" else ["b"])


# --- being undone --------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(11))
def test_a_run_that_was_being_undone_is_undone(lab: Any, service: Service, cut: int) -> None:
    """Wherever it was cut off: nothing is done again, and all is undone, in reverse order."""
    service.fail("c")
    ended = lab.execute(chain(lab, "abc", compensate="undo"))
    (failed,) = (n for n, e in enumerate(lab.events(), 1) if (e.kind, e.step_id) == ("step.finished", "c"))
    assert len(lab.events()) - 1 - failed >= 11
    rest = lab.cut(failed + cut)
    undone = {s for s, step in rest.states()[ended.run_id].steps.items() if step.status == "success"}
    service.heal()
    result = rest.go_on(ended.run_id)
    assert (result.status, result.error, statuses(result)) == (ended.status, ended.error, statuses(ended))
    assert service.calls == [f"undo {name}" for name in "ba" if f"compensate:{name}" not in undone]
    assert rest.states()[ended.run_id].steps["compensate:a"].status == "success"


def test_a_run_that_was_being_undone_because_its_time_was_over_is_undone(lab: Any, service: Service) -> None:
    """No step had failed; all the same it does not go on with what is left."""
    flow = chain(lab, "abc", compensate="undo").with_timeout(2.5)
    ended = lab.execute(flow)
    assert (ended.status, ended.error) == ("failed", "the run exceeded its timeout of 2.5 s")
    for event in ("step.scheduled", "attempt.started", "step.finished"):
        rest = lab.cut_after(event, "compensate:b")
        service.heal()
        result = rest.go_on(ended.run_id)
        assert (result.status, result.error) == (ended.status, ended.error)
        assert service.calls == (["undo a"] if event == "step.finished" else ["undo b", "undo a"])
        again = rest.cut_after("run.resumed")
        service.heal()
        assert again.go_on(ended.run_id).error == ended.error
        assert "c" not in service.calls


def test_an_edited_function_does_not_keep_a_run_from_being_undone(lab: Any, service: Service) -> None:
    """Half undone, it cannot go on where it failed; when it is undone it can be tried again."""
    service.fail("c")
    ended = lab.execute(chain(lab, "abc", compensate="undo"))
    rest = lab.cut_after("step.finished", "compensate:b")
    rest.registry.methods.unregister("work")

    async def work(name: str, after: Any = None) -> str:
        service.calls.append(f"new {name}")
        return f"new {name} done"

    rest.registry.methods.register_method(work)
    service.heal()
    assert rest.go_on(ended.run_id).status == "failed"
    assert service.calls == ["undo a"]
    assert rest.go_on(ended.run_id).outputs == {name: f"new {name} done" for name in "abc"}
    assert service.calls == ["undo a", "new a", "new b", "new c"]


def test_steps_are_undone_in_reverse_order_of_their_ends_on_record(lab: Any, service: Service) -> None:
    """Also where the times say nothing: equal, or set back in between."""
    service.fail("last")
    flow = lab.flow()
    for name in "badc":
        flow.add_step("work", {"name": name}, step_id=name, compensate="undo")
    flow.add_step("work", {"name": "last"}, step_id="last", depends_on=list("abcd"))
    ended = lab.execute(flow)
    undone = service.calls[-4:]
    rest = lab.cut_after("attempt.started", "last")
    service.calls.clear()
    assert rest.go_on(ended.run_id).status == "failed"
    assert service.calls == ["last", *undone]


# --- sub-workflows -------------------------------------------------------------------------


@pytest.fixture
def nested(lab: Any, service: Service) -> Any:
    """``outer`` with a step, then ``sub`` with three steps, then one more."""
    inner = lab.flow("inner", "sequential")
    for name in "xyz":
        inner.add_step("work", {"name": name, "after": "${context.a}"}, step_id=name)
    flow = lab.flow("outer").add_step("work", {"name": "a"}, step_id="a")
    flow.add_workflow(inner.build(), {"a": "${steps.a}"}, step_id="sub")
    return flow.add_step("work", {"name": "b", "after": "${steps.sub.z}"}, step_id="b")


def child_of(lab: Any, run_id: str) -> list[str]:
    """The ids of the runs below, the oldest first."""
    return [e.run_id for e in lab.events(None, "run.started") if e.payload["parent_run_id"] == run_id]


def test_a_sub_workflow_goes_on_step_by_step(lab: Any, service: Service, nested: Any) -> None:
    """In the run that it was, also when it is cut off again before it came to it."""
    done = lab.execute(nested)
    rest = lab.cut_after("attempt.started", "y")
    for current in (rest.cut_after("attempt.started", "y"), rest):
        service.heal()
        assert current.go_on(done.run_id).outputs == done.outputs
        assert service.calls == ["y", "z", "b"]
        assert child_of(current, done.run_id) == child_of(lab, done.run_id)
    first = next(n for n, e in enumerate(rest.events(), 1) if e.kind == "run.resumed")
    again = rest.cut(first + 2)
    service.heal()
    assert again.go_on(done.run_id).outputs == done.outputs
    assert service.calls == ["y", "z", "b"]


def test_a_sub_workflow_that_had_failed_stays_failed(lab: Any, service: Service, nested: Any) -> None:
    """Its end is on record, that of its step is not: it is not tried again until its whole run is."""
    service.fail("y")
    ended = lab.execute(nested)
    (child,) = child_of(lab, ended.run_id)
    (end,) = (n for n, e in enumerate(lab.events(), 1) if (e.kind, e.run_id) == ("run.finished", child))
    rest = lab.cut(end)
    service.heal()
    result = rest.go_on(ended.run_id)
    assert (result.status, statuses(result)) == (ended.status, statuses(ended))
    assert service.calls == []
    assert rest.go_on(ended.run_id).success
    assert service.calls == ["y", "z", "b"]
    assert child_of(rest, ended.run_id) == [child]


def test_a_run_below_that_does_not_go_on_is_ended(lab: Any, service: Service, nested: Any) -> None:
    """Its input is another one now, so another run takes its place; it is not left open for good."""
    done = lab.execute(nested)
    rest = lab.cut_after("attempt.started", "y")
    rest.registry.methods.register_method(service.undo, name="other")
    definition = nested.build().to_dict()
    definition["steps"][0]["parameters"]["after"] = "edited"
    (child,) = child_of(lab, done.run_id)
    rest.store.open_runs.begin(child, "workflow", "inner", done.run_id)
    rest.store.commit()
    service.heal()
    workflow = nested.build().from_dict(definition)
    assert rest.go_on(done.run_id, workflow=workflow).success
    assert service.calls == ["a", "x", "y", "z", "b"]
    old, new = child_of(rest, done.run_id)
    states = rest.states()
    assert (old, states[old].status, states[new].status) == (child, "cancelled", "success")
    assert {s.step_id: s.status for s in states[old].steps.values()} == {
        "x": "success",
        "y": "cancelled",
        "z": "skipped",
    }
    assert states[old].steps["y"].attempts[0].status == "in_doubt"
    assert rest.store.open_runs.all() == []


def test_a_run_below_that_is_not_come_to_is_ended(lab: Any, service: Service) -> None:
    """What comes before it fails this time: it ends with the run above, and goes on with it later."""
    inner = lab.flow("inner", "sequential")
    for name in "xy":
        inner.add_step("work", {"name": name}, step_id=name)
    flow = lab.flow(mode="parallel").add_step("work", {"name": "a"}, step_id="a")
    flow.add_workflow(inner.build(), {}, step_id="sub")
    service.fail("a")
    ended = lab.execute(flow)
    rest = lab.cut_after("step.finished", "a")
    (child,) = child_of(rest, ended.run_id)
    assert rest.go_on(ended.run_id).status == "failed"
    assert rest.states()[child].status == "cancelled"
    service.heal()
    assert rest.go_on(ended.run_id).success
    assert child_of(rest, ended.run_id) == [child]
    assert rest.states()[child].status == "success"


# --- what else a run is given --------------------------------------------------------------


def test_on_whose_behalf_it_runs_is_known(lab: Any, service: Service) -> None:
    """User, session, casefile, request and context are those of the beginning."""
    seen: list[Any] = []

    async def look(run: Any, n: int) -> None:
        seen.append((run, n))

    lab.tool(look)
    flow = chain(lab, "a")
    facts = {
        name: f"${{run.{name}}}" for name in ("id", "user_id", "session_id", "casefile_id", "request_id")
    }
    flow.add_step("look", {"run": facts, "n": "${context.n}"}, step_id="look", depends_on=["a"])
    who = {"user_id": "u_1", "session_id": "ses_1", "casefile_id": "cf_1", "request_id": "req_1"}
    done = lab.execute(flow, **who, context={"n": 7}, durability="async")
    rest = lab.cut_after("attempt.started", "a")
    assert rest.go_on(done.run_id).success
    assert seen[0] == seen[1] == ({"id": done.run_id, **who}, 7)


def test_a_dry_run_stays_one(lab: Any, service: Service) -> None:
    """A run in which nothing was to be done does nothing when it is resumed either."""
    dry = ExecutionDirective(execution_mode="dry_run", idempotency_key="k")
    done = lab.execute(chain(lab, "a").build(), directives=dry)
    assert done.success
    rest = lab.cut_after("step.scheduled", "a")
    assert rest.go_on(done.run_id).success
    assert service.calls == []
    assert lab.events(None, "run.started")[0].payload["directives"] == {"execution_mode": "dry_run"}


def test_a_branch_is_taken_as_before(lab: Any, service: Service) -> None:
    """Conditions are looked at again on the same values; a join waits for what was passed over."""
    flow = chain(lab, "a")
    flow.add_step("work", {"name": "yes"}, step_id="yes", when="${steps.a} == 'a done'")
    flow.add_step("work", {"name": "no"}, step_id="no", when="${steps.a} != 'a done'")
    flow.add_step("work", {"name": "join"}, step_id="join", depends_on=["yes", "no"])
    done = lab.execute(flow)
    for event in ("step.finished", "attempt.started"):
        rest = lab.cut_after(event, "yes")
        service.heal()
        result = rest.go_on(done.run_id)
        assert (
            statuses(result)
            == statuses(done)
            == {"a": "success", "yes": "success", "no": "skipped", "join": "success"}
        )
        assert service.calls == (["join"] if event == "step.finished" else ["yes", "join"])
