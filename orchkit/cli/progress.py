"""Showing a run on stderr while it goes on: a small live picture, or lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchkit.analysis.words import duration, plural
from orchkit.cli.feed import Doing, Feed, is_retry
from orchkit.cli.words import one_line, squeeze, status
from orchkit.model import event as ev
from orchkit.model.event import Event

LISTED = 8
"""How many of the steps that have begun are listed."""
LABEL = 28
SIGN = len("⊘ cancelled") + 2


class Display(Protocol):
    """Shows what is new; used as a context manager around the run."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind but lines that stay true."""
        ...

    def show(self, news: Iterable[Event], now_us: int) -> None:
        """Bring the display up to date."""
        ...

    def say(self, text: str) -> None:
        """A note that stays."""
        ...


def display_of(console: Console, feed: Feed, name: str, total: int, *, remark: str = "") -> Display:
    """A live picture on a terminal, lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return Picture(console, feed, name, total, remark)
    return Lines(console, feed)


class Lines:
    """One line for each step that is over and for each wait."""

    def __init__(self, console: Console, feed: Feed) -> None:
        self._console, self._feed = console, feed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, news: Iterable[Event], now_us: int) -> None:
        """Print a line for what is worth one."""
        for event in news:
            line = _line(event, one_line(self._feed.label(event)))
            if line is not None:
                self._console.print(line, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print it."""
        self._console.print(text, style="dim", soft_wrap=True)


def _line(event: Event, label: str) -> Text | None:
    """A line for the end of a step (not of an item of a map), and for a decision to try again."""
    payload = event.payload
    if event.kind == ev.STEP_FINISHED and not label.endswith("]"):
        mark = status(payload["status"])
        mark.pad_right(max(0, SIGN - len(mark)))
        lasted = duration(max(0, event.ts - payload["started_us"]) / 1000)
        took = "" if payload["status"] == "skipped" else lasted
        why = one_line(payload.get("error") or payload.get("reason") or "")
        return Text("  ").append_text(mark).append("  ".join(filter(None, (label, took, why))))
    if is_retry(event):
        inputs = payload["input_data"]
        wait = duration(1000 * inputs["delay_s"])
        told = f"attempt {inputs['attempt']} of {inputs['max_attempts']} failed, the next in {wait}"
        return Text(f"  {'… retry':<{SIGN}}{label}  {told}  {one_line(inputs['error'])}")
    return None


class Picture:
    """A bar of the steps that are over and, below it, what the steps that have begun are doing."""

    def __init__(self, console: Console, feed: Feed, name: str, total: int, remark: str) -> None:
        self._feed, self._name, self._total, self._remark = feed, one_line(name), total, remark
        self._console = console
        self._now_us = 0
        self._spinner = Spinner("dots", style="cyan")
        # What tools print goes above the picture, unless stdout leads somewhere else.
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, news: Iterable[Event], now_us: int) -> None:
        """Draw anew."""
        for _ in news:
            pass  # they are in the feed now
        self._now_us = now_us
        self._live.refresh()

    def say(self, text: str) -> None:
        """Print it above the picture; only the picture's own console knows where that is."""
        self._console.print(text, style="dim")

    def _draw(self) -> RenderableType:
        feed, now = self._feed, self._now_us
        started = feed.since_us or now
        head = Table.grid(padding=(0, 2))
        head.add_row(
            self._spinner,
            Text(squeeze(self._name, LABEL), style="bold"),
            ProgressBar(total=max(1, self._total), completed=feed.done, width=20),
            f"{feed.done}/{plural(self._total, 'step')}",
            Text(_clock((now - started) / 1e6), style="dim"),
        )
        doing = sorted(feed.doing.values(), key=lambda one: (one.retry_us is None, one.since_us))
        labels = [squeeze(one_line(one.label), LABEL) for one in doing[:LISTED]]
        longest = max(map(cell_len, labels), default=0)
        parts: list[RenderableType] = [head]
        for label, one in zip(labels, doing, strict=False):
            line = Text(f"  {label}{' ' * (longest - cell_len(label))}  ").append_text(describe(one, now))
            # Room for the ^C that the terminal puts behind the last line: it must not begin a new one.
            line.truncate(self._console.width - 4, overflow="ellipsis")
            parts.append(line)
        if len(doing) > LISTED:
            parts.append(Text(f"  and {len(doing) - LISTED:,} more", style="dim"))
        if self._remark:
            parts.append(Text(f"  {self._remark}", style="yellow"))
        return Group(*parts)


def describe(doing: Doing, now_us: int) -> Text:
    """What a step is doing now, as short as it can be said."""
    of = f" of {doing.attempts}" if doing.attempts else ""
    if doing.retry_us is not None:
        left = max(0.0, (doing.retry_us - now_us) / 1e6)
        text = Text(f"retry in {left:.1f} s", style="yellow")
        text.append(f" · attempt {doing.attempt}{of} failed: {one_line(doing.error or '')}", style="dim")
        return text
    parts = [_clock((now_us - doing.since_us) / 1e6)]
    if doing.items is not None:
        parts.append(f"{doing.items_done} of {plural(doing.items, 'item')}")
    if doing.waiting:
        parts.append(f"{len(doing.waiting)} waiting to try again")
    if doing.attempt > 1:
        parts.append(f"attempt {doing.attempt}{of}")
    if doing.fraction is not None:
        parts.append(f"{doing.fraction:.0%}")
    if doing.message:
        parts.append(one_line(doing.message))
    return Text(" · ".join(parts), style="cyan")


def _clock(seconds: float) -> str:
    """A time that runs: always one digit after the point, so that it does not jump about."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 60 else duration(seconds * 1000)
