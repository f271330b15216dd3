"""Circuit breakers on the record: their periods, what they kept from being called, what that was worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.analysis import retries
from orchkit.errors import ParameterError
from orchkit.store import codec
from orchkit.store.store import Store

START = datetime(2025, 3, 12, 14, tzinfo=UTC)
STATES = ("closed", "open", "half_open", "forced_open", "disabled")
OUTAGE = [
    (0, "mail", "closed", "open", "run_1", "send", 3),
    (60, "mail", "open", "half_open", "run_1", "send", 4),
    (65, "mail", "half_open", "open", "run_1", "send", 4),
    (125, "mail", "open", "half_open", "run_2", "send", 1),
    (126, "mail", "half_open", "closed", "run_2", "send", 1),
    (200, "db", "closed", "forced_open", None, None, None),
    (230, "db", "forced_open", "closed", None, None, None),
]
"""Seconds after the start, breaker, from, to, and the attempt that caused it."""
Transition = tuple[float, str, str, str, str | None, str | None, int | None]


def us(seconds: float) -> int:
    """Microseconds since the epoch of so many seconds after the start."""
    return round((START.timestamp() + seconds) * 1e6)


def filled(store: Store, transitions: Sequence[Transition]) -> Store:
    """A store with these transitions, and the attempts that opened the breaker of the outage."""

    def add(seconds: float, kind: str, whose: tuple[Any, Any, Any], /, **payload: Any) -> None:
        store.log.append((us(seconds), kind, *whose, codec.dumps(payload)), durable=True)

    for run in ("run_1", "run_2", "run_3"):
        add(-10, "run.started", (run, None, None), kind="workflow", name="mails")
    for number, took in ((1, 1.0), (2, 2.0), (3, 3.0)):
        end = {
            "status": "failed",
            "started_us": us(-took),
            "duration_us": took * 1e6,
            "error_type": "ConnectionError",
        }
        add(0, "attempt.finished", ("run_1", "send", number), **end)
    for seconds, breaker, before, after, run, step, attempt in transitions:
        states = {"from_state": before, "to_state": after}
        add(seconds, "breaker.transition", (run, step, attempt), name=breaker, reason=f"to {after}", **states)
    for run, step in (("run_1", "send"), ("run_1", "send"), ("run_2", "send"), ("run_3", "other")):
        rejected = {"point": "breaker", "decision": "rejected", "input_data": {"breaker": "mail"}}
        add(30, "decision", (run, step, 3), **rejected, origin="engine")
    add(
        126, "attempt.finished", ("run_2", "send", 1), status="success", started_us=us(125), duration_us=10**6
    )
    store.commit()
    return store


@pytest.fixture
def outage() -> Iterator[Store]:
    """A breaker that opened, failed its first probe and closed after the second; another opened by hand."""
    with Store() as store:
        yield filled(store, OUTAGE)


def frame(transitions: Sequence[Transition]) -> pd.DataFrame:
    """The same as a DataFrame."""
    columns = ["changed_at", "breaker", "from_state", "to_state", "run_id", "step_id", "attempt"]
    made = pd.DataFrame(list(transitions), columns=columns)
    made["changed_at"] = [pd.Timestamp(us(seconds), unit="us", tz="UTC") for seconds in made["changed_at"]]
    return made.assign(reason="to " + made.to_state, seq=range(1, len(made) + 1))


def test_periods_follow_each_other(outage: Store) -> None:
    """Each transition begins a period that the next one of the same breaker ends."""
    periods = retries.breaker_periods(outage)
    mail = periods[periods.breaker == "mail"]
    assert mail.state.tolist() == ["open", "half_open", "open", "half_open", "closed"]
    assert mail.duration_ms.tolist()[:-1] == [60_000, 5_000, 60_000, 1_000]
    assert mail.began_at.tolist()[1:] == mail.ended_at.tolist()[:-1]
    assert mail.reason.tolist()[0] == "to open"
    assert pd.isna(mail.ended_at.iloc[-1])
    assert pd.isna(mail.duration_ms.iloc[-1])


def test_what_goes_on_is_counted_up_to_a_moment_when_asked(outage: Store) -> None:
    """Without one, how long it has been so far is not known."""
    outage.log.append(
        (
            us(300),
            "breaker.transition",
            None,
            None,
            None,
            '{"name":"mail","from_state":"closed","to_state":"open"}',
        ),
        durable=True,
    )
    until = START + timedelta(seconds=310)
    with_end = retries.breaker_periods(outage, until=until)
    assert with_end.duration_ms.tolist()[-1] == 10_000
    times = [
        retries.breaker_open_time(outage, until=end).set_index("breaker").loc["mail", "open_ms"]
        for end in (None, until, until.replace(tzinfo=None))
    ]
    assert times == [120_000, 130_000, 130_000]


def test_open_time_and_its_worth(outage: Store) -> None:
    """Two times open for a minute, four calls rejected, two of their steps without success."""
    table = retries.breaker_open_time(outage)
    assert table.breaker.tolist() == ["mail", "db"]
    mail, db = table.to_dict("records")
    assert (mail["opened"], mail["reopened"], mail["state"]) == (1, 1, "closed")
    assert (mail["open_ms"], mail["half_open_ms"], mail["longest_open_ms"]) == (120_000, 6_000, 60_000)
    assert (mail["rejected"], mail["steps_lost"]) == (4, 2)
    # The attempt that opened it took 3 s; only just before the probing that closed it, the service was back.
    assert (mail["saved_ms_at_most"], mail["late_ms_at_most"]) == (4 * 3_000, 60_000)
    assert (db["opened"], db["open_ms"], db["rejected"], db["late_ms_at_most"]) == (1, 30_000, 0, 0)
    assert pd.isna(db["saved_ms_at_most"])


def test_a_run_has_the_transitions_that_it_caused(outage: Store) -> None:
    """Of a run or of named ones, only what their attempts caused; what was done by hand belongs to none."""
    assert retries.breaker_periods(ok.Run(outage, "run_2")).state.tolist() == ["half_open", "closed"]
    assert set(retries.breaker_periods(outage, runs=["run_1", "run_2"]).breaker) == {"mail"}


def test_breakers_of_simulated_runs_are_others(outage: Store) -> None:
    """Their transitions count only when they are asked for; those by hand belong to no simulation."""
    started = '{"kind":"workflow","name":"x","simulated":true}'
    outage.log.append((us(-10), "run.started", "run_9", None, None, started), durable=True)
    opened = '{"name":"mail","from_state":"closed","to_state":"open"}'
    outage.log.append((us(10), "breaker.transition", "run_9", "s", 1, opened), durable=True)
    assert len(retries.breaker_periods(outage)) == len(OUTAGE)
    assert len(retries.breaker_periods(outage, origins=["simulated"])) == 1
    everything = retries.breaker_periods(outage, origins=["live", "imported", "simulated"])
    assert len(everything) == len(OUTAGE) + 1


def test_dataframes_give_the_same_answers(outage: Store) -> None:
    """Transitions as a DataFrame, with attempts and decisions beside it."""
    attempts = outage.sql("SELECT * FROM attempts")
    decisions = outage.sql("SELECT * FROM decision_traces")
    wanted = retries.breaker_open_time(outage)
    for transitions in (frame(OUTAGE), outage.sql("SELECT * FROM breaker_transitions")):
        pd.testing.assert_frame_equal(
            retries.breaker_open_time(transitions, attempts=attempts, decisions=decisions), wanted
        )
        pd.testing.assert_frame_equal(retries.breaker_periods(transitions), retries.breaker_periods(outage))
    alone = retries.breaker_open_time(frame(OUTAGE))
    assert alone.open_ms.tolist() == wanted.open_ms.tolist()
    assert alone.rejected.tolist() == [0, 0]


def test_a_column_that_is_missing_is_named() -> None:
    """A DataFrame of something else is no DataFrame of transitions."""
    with pytest.raises(ParameterError, match="breaker_transitions: column 'to_state': is missing"):
        retries.breaker_periods(frame(OUTAGE).drop(columns="to_state"))


def test_no_breaker_at_all_is_an_empty_answer() -> None:
    """With all columns in their dtypes."""
    with Store() as store:
        for question in (retries.breaker_periods, retries.breaker_open_time):
            answer = question(store)
            assert len(answer) == 0
            wanted = question(frame(OUTAGE))
            assert (answer.dtypes == wanted.dtypes).all()


_WALK = st.lists(
    st.tuples(st.sampled_from(["mail", "db"]), st.sampled_from(STATES), st.floats(0, 100)), max_size=12
)


@settings(max_examples=40)
@given(_WALK, st.one_of(st.none(), st.floats(0, 2000)))
def test_open_time_is_that_of_the_reference(walk: list[tuple[str, str, float]], end: float | None) -> None:
    """Whatever states a breaker walks through, every stretch is counted once and where it belongs."""
    now, made, states = 0.0, list[Transition](), dict.fromkeys(("mail", "db"), "closed")
    for breaker, state, wait in walk:
        now += round(wait, 3)
        made.append((now, breaker, states[breaker], state, None, None, None))
        states[breaker] = state
    until = None if end is None else datetime.fromtimestamp(us(end) / 1e6, UTC)
    table = retries.breaker_open_time(frame(made), until=until).set_index("breaker")
    assert set(table.index) == {breaker for _, breaker, *_ in made}
    for breaker in table.index:
        mine = [one for one in made if one[1] == breaker]
        ends = [one[0] for one in mine[1:]] + [end]
        spans = [
            (one[3], 0.0 if stop is None else max(0.0, stop - one[0]))
            for one, stop in zip(mine, ends, strict=True)
        ]
        opened = sum(one[3] in ("open", "forced_open") and one[2] in ("closed", "disabled") for one in mine)
        row = table.loc[breaker]
        assert row.opened == opened
        assert row.state == mine[-1][3]
        for column, kinds in {"open_ms": ("open", "forced_open"), "half_open_ms": ("half_open",)}.items():
            assert row[column] == pytest.approx(1000 * sum(s for k, s in spans if k in kinds), abs=0.01)
        late = sum(
            seconds
            for (kind, seconds), *following in zip(spans, spans[1:], spans[2:], strict=False)
            if [kind, *(k for k, _ in following)] == ["open", "half_open", "closed"]
        )
        assert row.late_ms_at_most == pytest.approx(1000 * late, abs=0.01)
