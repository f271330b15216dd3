"""How a method's body is run: async functions on the loop, sync functions in worker threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import CoroutineType
from typing import Any

from orchkit.executors.threads import ThreadWorkers

EXECUTORS = ("inline", "threads")


class Bodies:
    """Chooses where a function runs; ``inline`` puts a (short) sync function on the loop."""

    def __init__(self, threads: ThreadWorkers | None = None) -> None:
        self.threads = threads or ThreadWorkers()

    def runner(
        self, function: Callable[..., Any], *, is_async: bool, executor: str | None
    ) -> tuple[Callable[[Mapping[str, Any]], Awaitable[Any]], bool]:
        """``(run, in_thread)``: ``await run(kwargs)`` calls the function where it belongs.

        A sync function that gives a coroutine (a decorator's wrapper around an async one) is awaited.
        """
        if executor not in (None, *EXECUTORS):
            raise ValueError(f"unknown executor {executor!r}: use one of {', '.join(EXECUTORS)}")
        if is_async:
            return (lambda kwargs: function(**kwargs)), False
        if executor == "inline":

            async def run_inline(kwargs: Mapping[str, Any]) -> Any:
                result = function(**kwargs)
                return await result if isinstance(result, CoroutineType) else result

            return run_inline, False

        async def run_in_thread(kwargs: Mapping[str, Any]) -> Any:
            result = await self.threads.run(function, kwargs)
            return await result if isinstance(result, CoroutineType) else result

        return run_in_thread, True
