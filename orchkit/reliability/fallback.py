"""Fallbacks: what takes the place of a result when a call has failed for good."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchkit.errors import StoreError
from orchkit.model.fallback import FallbackOption, arguments_of
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.classify import error_message, error_name
from orchkit.reliability.functions import load
from orchkit.reliability.traits import traits_of

Substitute = Callable[[Call, Exception], Awaitable[Any]]
"""Gives what takes the place of the result."""
CallTool = Callable[[FallbackOption], Substitute]
"""Looks up the tool of an option, once."""


def substitute(option: FallbackOption, call_tool: CallTool) -> Substitute:
    """How to get what an option offers; raises for a tool that does not exist."""
    if option.tool is not None:
        return call_tool(option)
    if option.function is None:
        return _value_of(option.value)
    return _function_of(option)


def _value_of(value: Any) -> Substitute:
    async def give(call: Call, error: Exception) -> Any:
        return deepcopy(value)  # whoever gets it may change it

    return give


def _function_of(option: FallbackOption) -> Substitute:
    async def ask(call: Call, error: Exception) -> Any:
        assert option.function is not None
        function = load("fallback", option.function)
        ask_it = partial(function, error) if arguments_of(function) else function
        apart = call.aside is not None and not inspect.iscoroutinefunction(function)
        result = await call.aside(ask_it) if apart and call.aside else ask_it()
        return await result if inspect.isawaitable(result) else result

    return ask


@dataclass(frozen=True, slots=True)
class Fallback:
    """The layer: a chain of substitutes for a result."""

    chain: Sequence[tuple[FallbackOption, Substitute]]

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises its own error when no option is for it, or all that are fail themselves."""
        try:
            return await inner(call)
        except StoreError:
            raise  # what cannot be recorded must not be papered over
        except Exception as error:
            traits = traits_of(error)
            for option, give in self.chain:
                if traits.isdisjoint(option.on):
                    continue
                try:
                    output = await give(call, error)
                except StoreError:
                    raise
                except Exception as broken:
                    _decided(call, option, error, broken)
                    continue
                _decided(call, option, error)
                return output
            raise


def _decided(call: Call, option: FallbackOption, error: Exception, broken: Exception | None = None) -> None:
    inputs = {
        "fallback": str(option),
        "error": error_message(error),
        "error_type": error_name(error),
        "attempts": call.attempt,
    }
    if broken is None:
        call.record.decided("fallback", "used", f"{error_name(error)}: {option} takes its place", inputs)
        return
    inputs |= {"fallback_error": error_message(broken), "fallback_error_type": error_name(broken)}
    call.record.decided("fallback", "failed", f"{option} failed with {error_name(broken)}", inputs)
