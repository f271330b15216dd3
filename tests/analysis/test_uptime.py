"""Questions about uptime: whom they can be asked of, what windows and options mean, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis import uptime
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.model import event as ev
from orchkit.store import codec

DAY = pd.Timestamp("2026-05-10", tz="UTC")
DAY_US = int(DAY.value // 1000)


def checks(*rows: tuple[float, Any], service: str = "mail", holds: float | None = None) -> pd.DataFrame:
    """Checks so many minutes into a day."""
    return pd.DataFrame(
        {
            "service": service,
            "checked_at": [DAY + pd.Timedelta(minutes=minutes) for minutes, _ in rows],
            "status": [status for _, status in rows],
            "holds_s": holds,
        }
    )


def minutes(table: pd.DataFrame) -> list[tuple[str, float]]:
    """States and how long they took, in minutes."""
    return [(row.state, round(row.duration_s / 60, 6)) for row in table.itertuples()]


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit with checks of two services, one in maintenance twice, the windows overlapping."""
    with ok.open() as kit:
        for minute, service, status, error in (
            (0, "mail", "healthy", None),
            (5, "shop", "healthy", None),
            (10, "mail", "unhealthy", "HTTP 503"),
            (20, "mail", "unhealthy", "refused"),
            (25, "mail", "unhealthy", "refused"),
            (30, "mail", "healthy", None),
            (35, "shop", None, None),
            (60, "mail", "degraded", None),
        ):
            payload = {
                "service": service, "status": status, "performed": status is not None, "error": error,
                "reason": None if status else "no_network", "holds_us": 1_800_000_000,
            }  # fmt: skip
            row = (DAY_US + minute * 60_000_000, ev.HEALTH_CHECK, None, None, None, codec.dumps(payload))
            kit.store.log.append(row, durable=True)
        for begin, end in ((40, 50), (45, 55), (40, 52)):
            span = {"from_us": DAY_US + begin * 60_000_000, "until_us": DAY_US + end * 60_000_000}
            kit.store.record(ev.HEALTH_MAINTENANCE, {"service": "mail", **span, "reason": None})
        yield kit


def away() -> pd.DataFrame:
    """The same windows as a DataFrame."""
    return pd.DataFrame(
        {
            "service": "mail",
            "starts_at": [DAY + pd.Timedelta(minutes=minute) for minute in (40, 45)],
            "ends_at": [DAY + pd.Timedelta(minutes=minute) for minute in (52, 55)],
        }
    )


QUESTIONS = {
    "availability": uptime.availability,
    "availability of all": lambda source, **asked: uptime.availability(source, by=None, **asked),
    "over time": lambda source, **asked: uptime.availability_over_time(source, every="hour", **asked),
    "states": uptime.states,
    "incidents": uptime.incidents,
    "outages": uptime.outages,
    "slo": uptime.slo,
    "burn rates": uptime.burn_rates,
    "error budget": uptime.error_budget,
}
every_question = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)


@every_question
def test_a_kit_a_store_and_a_dataframe_give_the_same_answer(kit: ok.Kit, ask: Any) -> None:
    """The same SQL is asked of all of them; maintenance comes from the record or with the question."""
    frame = kit.sql("SELECT * FROM health_checks")
    answer = ask(kit)
    assert len(answer) >= 1
    pd.testing.assert_frame_equal(answer, ask(kit.store))
    pd.testing.assert_frame_equal(answer, ask(frame, maintenance=away()))
    pd.testing.assert_frame_equal(answer, ask(frame.sample(frac=1, random_state=1), maintenance=away()))


@every_question
def test_an_empty_record_is_an_empty_answer_with_the_same_columns(ask: Any) -> None:
    """Nothing that was ever checked gives no row and the documented dtypes."""
    with ok.open() as kit:
        empty = ask(kit)
    full = ask(checks((0, "healthy"), (10, "unhealthy")))
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    assert {name: str(kind) for name, kind in empty.dtypes.items()} == {
        name: str(kind) for name, kind in full.dtypes.items()
    }


@every_question
def test_a_service_can_be_chosen(kit: ok.Kit, ask: Any) -> None:
    """The others are left out, and what is said of the chosen one does not change."""
    answer, whole = ask(kit, services="mail"), ask(kit)
    if "service" in whole:
        pd.testing.assert_frame_equal(answer, whole[whole.service == "mail"].reset_index(drop=True))
    with pytest.raises(UnknownNameError, match="unknown service 'mial'; did you mean 'mail'"):
        ask(kit, services=["mail", "mial"])


def test_the_record_is_what_the_documentation_says(kit: ok.Kit) -> None:
    """Of the kit above, by hand: counts, times, coverage, incidents."""
    table = uptime.availability(kit).set_index("service")
    mail, shop = table.loc["mail"], table.loc["shop"]
    assert [mail.checks, mail.up, mail.degraded, mail.down, mail.in_maintenance] == [6, 2, 1, 3, 0]
    assert (mail.up_s, mail.down_s, mail.maintenance_s) == (25 * 60, 20 * 60, 15 * 60)
    # What was found at 30 holds until 60; of the last one there is a second.
    assert (mail.unknown_s, mail.degraded_s) == (0, 1)
    assert [shop.checks, shop.not_performed] == [1, 1]
    assert shop.coverage == pytest.approx(30 * 60 / (55 * 60 + 1))
    assert shop.by_time == 1
    (row,) = uptime.incidents(kit).itertuples()
    assert (row.service, row.checks, row.cause, row.usual_error) == ("mail", 3, "HTTP 503", "refused")
    assert (row.duration_s, row.ended_by) == (20 * 60, "up")


# --- what is known when --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "holds", "wanted"),
    [
        ([(0, "healthy"), (10, "healthy"), (20, "unhealthy")], None, [("up", 20), ("down", 10)]),
        ([(0, "healthy"), (20, "healthy")], 600, [("up", 10), ("unknown", 10), ("up", 10)]),
        ([(0, "healthy"), (10, "healthy")], 600, [("up", 20), ("unknown", 10)]),
        ([(0, "healthy"), (10, None), (20, "healthy")], None, [("up", 10), ("unknown", 10), ("up", 10)]),
        (
            [(0, "healthy"), (10, "maintenance"), (20, "healthy")],
            None,
            [("up", 10), ("maintenance", 10), ("up", 10)],
        ),
        ([(0, "unhealthy"), (10, "healthy"), (10, "unhealthy")], None, [("down", 30)]),
        ([(20, "healthy"), (0, "unhealthy")], None, [("down", 20), ("up", 10)]),
        ([(0, "healthy"), (10, "unknown")], None, [("up", 10), ("unknown", 20)]),
    ],
)
def test_an_answer_holds_until_the_next_record_or_as_long_as_it_may(
    rows: list[Any], holds: float | None, wanted: list[Any]
) -> None:
    """Up to the half hour: what each history says of the state."""
    assert minutes(uptime.states(checks(*rows, holds=holds), until=DAY + pd.Timedelta(minutes=30))) == wanted


def test_the_window_ends_with_the_second_of_the_last_record_of_any_service() -> None:
    """A service that is down at its last record has been down since; one record alone is a second."""
    both = pd.concat([checks((0, "unhealthy")), checks((60, "healthy"), service="shop")])
    found = uptime.availability(both).set_index("service")
    assert (found.down_s["mail"], found.up_s["shop"]) == (3601, 1)
    assert (found["until"] == DAY + pd.Timedelta(minutes=60, seconds=1)).all()


def test_what_comes_later_is_not_looked_at() -> None:
    """A question about the past has the answer that it would have had then; before ``since`` it matters."""
    history = checks((0, "healthy"), (10, "unhealthy"), (20, "healthy"), (30, "unhealthy"))
    for end in (20, 25):
        until = DAY + pd.Timedelta(minutes=end)
        before = history[history.checked_at < until]
        for ask in QUESTIONS.values():
            pd.testing.assert_frame_equal(ask(history, until=until), ask(before, until=until))
    then = uptime.states(history, since=DAY + pd.Timedelta(minutes=12), until=DAY + pd.Timedelta(minutes=25))
    assert minutes(then) == [("down", 8), ("up", 5)]


def test_an_incident_is_listed_with_its_whole_length_where_it_reaches_into_the_window() -> None:
    """It may have begun before; it counts as a failure only where it began."""
    history = checks((0, "healthy"), (10, "unhealthy"), (20, "healthy"), (60, "healthy"))
    asked = {"since": DAY + pd.Timedelta(minutes=15)}
    (row,) = uptime.incidents(history, **asked).itertuples()
    assert (row.started_at, row.duration_s) == (DAY + pd.Timedelta(minutes=10), 600)
    (total,) = uptime.outages(history, **asked).itertuples()
    assert (total.incidents, total.mttr_s, total.down_s) == (1, 600, 300)
    assert np.isnan(total.mtbf_s)
    assert uptime.incidents(history, since=DAY + pd.Timedelta(minutes=20)).empty


@pytest.mark.parametrize("gap", [0, 599, 600, 3600])
def test_not_knowing_for_long_ends_an_incident(gap: float) -> None:
    """Ten minutes without a record are bridged, or not, as is asked for."""
    history = checks((0, "unhealthy"), (20, "unhealthy"), (25, "healthy"), holds=600)
    found = uptime.incidents(history, max_gap_s=gap)
    assert len(found) == (1 if gap >= 600 else 2)
    assert found.ended_by.tolist() == (["up"] if gap >= 600 else ["unknown", "up"])
    assert found.down_s.sum() == 15 * 60


def test_degraded_is_up_unless_it_is_said_otherwise() -> None:
    """In shares, incidents and budgets."""
    history = checks((0, "healthy"), (30, "degraded"), (60, "healthy"))
    until = DAY + pd.Timedelta(minutes=60)
    for ask, mild, strict in (
        (lambda **o: uptime.availability(history, until=until, **o).by_time[0], 1, 0.5),
        (lambda **o: uptime.availability(history, until=until, **o).by_checks[0], 1, 0.5),
        (lambda **o: len(uptime.incidents(history, until=until, **o)), 0, 1),
        (lambda **o: uptime.slo(history, until=until, window=3600, **o).spent_s[0], 0, 1800),
    ):
        assert ask() == mild
        assert ask(degraded_is_up=False) == strict


# --- by hours, days and weeks --------------------------------------------------------------


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-05-10", 24)])
def test_days_are_as_long_as_they_are_there(day: str, hours: int) -> None:
    """Where clocks are changed a day has 23 or 25 hours, and as many periods of an hour."""
    begin = pd.Timestamp(day, tz="Europe/Berlin")
    times = [begin - pd.Timedelta(days=1), begin + pd.Timedelta(days=3)]
    history = pd.DataFrame({"service": "mail", "checked_at": times, "status": "healthy"})
    days = uptime.availability_over_time(history, timezone="Europe/Berlin").set_index("began_at")
    assert days.up_s[begin] == hours * 3600
    assert str(days.index.dtype) == "datetime64[us, Europe/Berlin]"
    hourly = uptime.availability_over_time(history, every="hour", timezone="Europe/Berlin")
    assert (hourly.began_at.dt.date == begin.date()).sum() == hours
    assert (hourly.up_s.iloc[:-1] == 3600).all()
    weeks = uptime.availability_over_time(history, every="week", timezone="Europe/Berlin")
    assert set(weeks.began_at.dt.day_name()) == {"Monday"}
    assert weeks.up_s.sum() == days.up_s.sum() == hourly.up_s.sum()


def test_a_time_zone_may_be_an_object() -> None:
    """Any tzinfo will do."""
    history = checks((0, "healthy"), (60 * 30, "healthy"))
    found = uptime.availability_over_time(history, timezone=timezone(timedelta(hours=5, minutes=45)))
    assert found.began_at[0] == pd.Timestamp("2026-05-10T00:00+05:45")


# --- Wilson ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "of", "low", "high"),
    # R: binom::binom.wilson
    [(0, 10, 0.0, 0.277532800), (10, 10, 0.722467200, 1.0), (95, 100, 0.888249531, 0.978457241)],
)
def test_the_interval_is_wilsons(up: int, of: int, low: float, high: float) -> None:
    """Against numbers from elsewhere."""
    found = uptime.wilson_interval([up], [of])
    assert [float(found[0][0]), float(found[1][0])] == pytest.approx([low, high], abs=1e-6)
    assert np.isnan(uptime.wilson_interval(0, 0)).all()


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"since": "soon"}, "since: 'soon' is no time"),
        ({"until": 3}, "until: 3 is no time"),
        ({"until": pd.NaT}, "until: NaT is no time"),
        ({"since": "2026-05-10", "until": "2026-05-10T00:00:00Z"}, "since: is not before until"),
        ({"maintenance": pd.DataFrame({"service": ["a"]})}, "column 'starts_at': is missing"),
        (
            {"maintenance": pd.DataFrame({"service": ["a"], "starts_at": ["x"]})},
            "starts_at in row 0: 'x' is no time",
        ),
        ({"maintenance": pd.DataFrame({"service": ["a"], "starts_at": [None]})}, "row 0: has no starts_at"),
    ],
)
def test_windows_that_are_none_are_refused(asked: Any, message: str) -> None:
    """The error says which part of the question is wrong."""
    with pytest.raises(ParameterError) as caught:
        uptime.availability(checks((0, "healthy")), **asked)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "source: is a int"),
        (pd.DataFrame({"service": ["a"]}), "column 'checked_at': is missing"),
        (checks((0, "up")), "column 'status': has 'up' (a status is one of healthy, degraded"),
        (checks((0, "healthy")).assign(checked_at=pd.NaT), "row 0: has no checked_at"),
        (checks((0, "healthy"), (1, "healthy")).assign(service=["a", None]), "row 1: has no service"),
    ],
)
def test_what_is_no_history_is_refused(source: Any, message: str) -> None:
    """The error names column or row."""
    with pytest.raises(ParameterError) as caught:
        uptime.incidents(source)
    assert message in str(caught.value)


def test_options_that_do_not_exist_are_refused() -> None:
    """With what was probably meant."""
    history = checks((0, "healthy"))
    with pytest.raises(UnknownNameError, match="unknown option 'servises'; did you mean 'services'"):
        uptime.states(history, servises="mail")  # type: ignore[call-arg]
    with pytest.raises(UnknownNameError, match="unknown period 'month'"):
        uptime.availability_over_time(history, every="month")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown key to group by 'day'"):
        uptime.availability(history, by="day")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="timezone: 'Mars/Olympus' is none"):
        uptime.availability_over_time(history, timezone="Mars/Olympus")
    with pytest.raises(ParameterError, match="since: is not asked for here"):
        uptime.slo(history, since="2026-05-01")
    with pytest.raises(ParameterError, match=r"target: 99\.9 is not between 0 and 1"):
        uptime.slo(history, target=99.9)
    with pytest.raises(ParameterError, match="target: '99%' is not between 0 and 1"):
        uptime.slo(history, target="99%")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="window: 0 is no length of time"):
        uptime.error_budget(history, window=0)
    with pytest.raises(ParameterError, match="max_gap_s: -1 is no length of time"):
        uptime.incidents(history, max_gap_s=-1)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        uptime.availability(history, confidence=95)


@pytest.mark.parametrize("span", ["1h", "60 min", timedelta(hours=1), pd.Timedelta("1h"), 3600, "3600"])
def test_lengths_of_time_are_written_as_in_policies(span: Any) -> None:
    """Texts with a unit, timedeltas and seconds mean the same, wherever a length is asked for."""
    history = checks((0, "healthy"), (10, "unhealthy"), (15, None), (90, "unhealthy"), (95, "healthy"))
    assert uptime.slo(history, window=span).window_s.tolist() == [3600]
    same = uptime.error_budget(history, window=3600)
    pd.testing.assert_frame_equal(uptime.error_budget(history, window=span), same)
    (pair,) = uptime.burn_rates(history, windows=[(span, "5m", 14.4)]).itertuples()
    assert (pair.long_s, pair.short_s) == (3600, 300)
    assert len(uptime.incidents(history, max_gap_s=span)) == 2
    assert uptime.outages(history, max_gap_s=span).incidents.tolist() == [2]
    assert len(uptime.incidents(history, max_gap_s="2h")) == 1
    assert len(uptime.availability_over_time(history, every="1h")) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["soon", "1 fortnight", "", -1, float("nan"), True, [1], None, pd.NaT])
def test_what_is_no_length_of_time_is_said_so(wrong: Any) -> None:
    """Each place names what it was given, and how lengths are written."""
    history = checks((0, "healthy"))
    for ask in (
        lambda: uptime.slo(history, window=wrong),
        lambda: uptime.error_budget(history, window=wrong),
        lambda: uptime.burn_rates(history, windows=[("1h", wrong, 2)]),
        lambda: uptime.incidents(history, max_gap_s=wrong),
        lambda: uptime.outages(history, max_gap_s=wrong),
    ):
        with pytest.raises(ParameterError, match=r"is no length of time \(give a text such as '1h' or '28d'"):
            ask()


@pytest.mark.parametrize("wrong", [["1h"], ["1h", "5m", 14.4], [("1h", "5m")], [("1h", "5m", "fast")]])
def test_a_pair_of_windows_that_is_none_is_refused(wrong: Any) -> None:
    """One that lacks its rate, or stands without its brackets, is named."""
    with pytest.raises(ParameterError, match=r"windows: .* is no pair \(give a long time, a short one"):
        uptime.burn_rates(checks((0, "healthy")), windows=wrong)


def test_times_without_a_zone_are_in_utc() -> None:
    """Of checks and of windows, as datetimes and as texts."""
    history = checks((0, "healthy"), (60, "unhealthy"))
    naive = history.assign(checked_at=history.checked_at.dt.tz_localize(None))
    texts = history.assign(checked_at=history.checked_at.astype(str))
    until = datetime(2026, 5, 10, 2, tzinfo=UTC)
    for source in (history, naive, texts):
        for end in (until, until.replace(tzinfo=None), "2026-05-10T02:00:00", "2026-05-10T04:00:00+02:00"):
            assert minutes(uptime.states(source, until=end)) == [("up", 60), ("down", 60)]
            assert len(uptime.availability_over_time(source, until=end)) == 1
