"""Services: found by type, made once, closed in the end."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Protocol, runtime_checkable

import pytest
from pydantic import BaseModel

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry import ServiceContainer


class Database(ABC):
    @abstractmethod
    def query(self, sql: str) -> str: ...


class Postgres(Database):
    def __init__(self) -> None:
        self.closed = 0

    def query(self, sql: str) -> str:
        return sql

    def close(self) -> None:
        self.closed += 1


class Sqlite(Database):
    def query(self, sql: str) -> str:
        return sql


class Settings(BaseModel):
    url: str = "u"


class Queries(Protocol):
    def query(self, sql: str) -> str: ...


@runtime_checkable
class Sends(Protocol):
    def send(self, text: str) -> None: ...


class HasUrl(Protocol):
    url: str


def test_an_instance_is_found_by_its_type() -> None:
    """What was registered is what is given."""
    container, settings = ServiceContainer(), Settings()
    container.register(Settings, settings)
    assert container.get(Settings) is settings
    assert container.has(Settings)
    assert not container.has(Database)
    assert "Settings" in repr(container)


def test_a_factory_is_called_once_at_first_use() -> None:
    """A function, or the class itself, is called at the first look-up only."""
    made: list[Postgres] = []

    def make() -> Postgres:
        made.append(Postgres())
        return made[-1]

    container = ServiceContainer()
    container.register(Postgres, make)
    container.register(Settings, Settings)
    assert not made
    assert container.get(Postgres) is container.get(Postgres) is made[0]
    assert len(made) == 1
    assert container.get(Settings) is container.get(Settings)


@pytest.mark.parametrize("wanted", [Postgres, Database, Queries])
def test_a_service_is_found_by_base_class_and_protocol(wanted: type) -> None:
    """A base class, or a protocol that the registered class fits, finds it; an exact type goes first."""
    container = ServiceContainer()
    container.register(Postgres, Postgres)
    assert isinstance(container.get(wanted), Postgres)
    exact = Sqlite()
    container.register(wanted, exact)
    assert container.get(wanted) is exact


@pytest.mark.parametrize("wanted", [Sends, BaseModel, Hashable, object, HasUrl, Sqlite])
def test_what_does_not_fit_or_says_too_little_finds_nothing(wanted: type) -> None:
    """General types (object, BaseModel) match nothing by inheritance; protocols need all members."""
    container = ServiceContainer()
    container.register(Postgres, Postgres)
    assert not container.has(wanted)
    with pytest.raises(UnknownNameError, match="unknown service"):
        container.get(wanted)


def test_a_protocol_may_have_data() -> None:
    """Annotated attributes count as members of a protocol."""
    container = ServiceContainer()
    container.register(Settings, Settings)
    assert container.get(HasUrl).url == "u"  # type: ignore[type-abstract]


def test_two_that_fit_are_an_error_that_names_both() -> None:
    """A look-up by base class that could mean two services says so instead of choosing."""
    container = ServiceContainer()
    container.register(Postgres, Postgres)
    container.register(Sqlite, Sqlite)
    with pytest.raises(RegistrationError, match="Postgres and Sqlite both fit: register one of them"):
        container.get(Database)  # type: ignore[type-abstract]


def test_a_container_falls_through_to_its_parent_where_factories_still_run_once() -> None:
    """Types not found are looked up in the parent; an exact type there goes before a fitting one here."""
    parent = ServiceContainer()
    parent.register(Database, Postgres)
    child = ServiceContainer(parent)
    assert child.get(Database) is parent.get(Database)  # type: ignore[type-abstract]
    child.register(Sqlite, Sqlite)
    assert isinstance(child.get(Database), Postgres)  # type: ignore[type-abstract]
    child.register(Database, Sqlite())
    assert isinstance(child.get(Database), Sqlite)  # type: ignore[type-abstract]
    assert len(child) == 3


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (str, "x", "too general"),
        (list, list, "too general"),
        ("Database", Postgres, "under a class"),
        (Settings, None, "neither an instance of it nor a factory"),
        (Sends, Settings(), "neither an instance of it nor a factory"),
    ],
)
def test_what_cannot_be_a_service_is_refused(type_: Any, value: Any, message: str) -> None:
    """General types and values that are neither instance nor factory are refused at registration."""
    with pytest.raises(RegistrationError, match=message):
        ServiceContainer().register(type_, value)


def test_an_async_factory_is_refused() -> None:
    """A coroutine is no service: the error says what to do."""

    async def make() -> Settings:
        return Settings()

    with pytest.raises(RegistrationError, match="its factory is async"):
        ServiceContainer().register(Settings, make)


def test_a_stand_in_of_another_class_is_taken_as_it_is() -> None:
    """A fake that is no subclass and cannot be called is an instance."""

    class Fake:
        def query(self, sql: str) -> str:
            return "fake"

    container = ServiceContainer()
    container.register(Postgres, Fake())  # type: ignore[arg-type]
    assert container.get(Postgres).query("") == "fake"


def test_factories_may_use_the_container_but_not_in_a_circle() -> None:
    """A factory can ask for other services; asking for itself is reported, not endless."""
    container = ServiceContainer()
    container.register(Settings, lambda: Settings(url=container.get(Postgres).query("made")))
    container.register(Postgres, Postgres)
    assert container.get(Settings).url == "made"
    container.register(Sqlite, lambda: container.get(Sqlite))
    with pytest.raises(RegistrationError, match="needs the service that it makes"):
        container.get(Sqlite)


def test_a_failing_factory_is_named_and_tried_again() -> None:
    """The factory's own error comes through with a note that names the service; nothing is kept."""
    outcomes: list[Any] = [OSError("down"), Settings(url="up")]

    def make() -> Settings:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    container = ServiceContainer()
    container.register(Settings, make)
    with pytest.raises(OSError, match="down") as caught:
        container.get(Settings)
    assert caught.value.__notes__ == ["while making the service Settings"]
    assert container.get(Settings).url == "up"


def test_many_threads_get_one_instance() -> None:
    """A factory runs once even when threads ask at the same time."""
    made: list[Settings] = []
    ready = threading.Barrier(8)

    def make() -> Settings:
        time.sleep(0)  # lets the other threads run
        made.append(Settings())
        return made[-1]

    def ask(_: int) -> Settings:
        ready.wait()
        return container.get(Settings)

    container = ServiceContainer()
    container.register(Settings, make)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(service) for service in pool.map(ask, range(8))}) == 1
    assert len(made) == 1


def test_close_closes_what_was_made_or_given_once_and_newest_first() -> None:
    """All instances with a `close` are closed in reverse order; what was never made is not."""
    order: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            order.append(self.name)

    class First(Recorder): ...

    class Second(Recorder): ...

    class Third(Recorder): ...

    container = ServiceContainer()
    first = First("first")
    container.register(First, first)
    container.register(Recorder, first)
    container.register(Second, lambda: Second("second"))
    container.register(Third, lambda: Third("third"))
    container.register(Settings, Settings())
    container.get(Second)
    container.close()
    assert order == ["second", "first"]
    assert not container.has(First)
    container.close()
    assert len(order) == 2


def test_a_replaced_service_is_closed_with_the_rest() -> None:
    """Replacing a service leaves the old one open, because somebody may be using it, until the end."""
    container, old, new = ServiceContainer(), Postgres(), Postgres()
    container.register(Postgres, old)
    container.register(Postgres, new)
    assert (container.get(Postgres), old.closed) == (new, 0)
    container.close()
    assert (old.closed, new.closed) == (1, 1)


def test_close_goes_on_when_one_service_fails() -> None:
    """Every service is closed; one failure is raised as it is, several as a group."""

    class Bad(Postgres):
        def close(self) -> None:
            super().close()
            raise OSError("no")

    class Worse(Bad): ...

    container, good, bad = ServiceContainer(), Postgres(), Bad()
    container.register(Postgres, good)
    container.register(Bad, bad)
    with pytest.raises(OSError, match="no") as caught:
        container.close()
    assert caught.value.__notes__ == ["while closing the service Bad"]
    assert (good.closed, bad.closed) == (1, 1)
    container.register(Bad, Bad())
    container.register(Worse, Worse())
    with pytest.raises(ExceptionGroup, match="several services failed to close"):
        container.close()


def test_an_async_close_is_reported() -> None:
    """A coroutine cannot be awaited from `close`: the warning names the service."""

    class Client:
        async def close(self) -> None: ...

    container = ServiceContainer()
    container.register(Client, Client())
    with pytest.warns(ResourceWarning, match=r"Client\.close is async"):
        container.close()


def test_closing_a_child_leaves_the_parent_open() -> None:
    """A container closes only what is its own."""
    parent, service = ServiceContainer(), Postgres()
    parent.register(Postgres, service)
    child = ServiceContainer(parent)
    child.get(Postgres)
    child.close()
    assert service.closed == 0


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Postgres, Postgres),
        (Postgres | None, Postgres),
        (Annotated[Database, "doc"], Database),
        (Postgres | int, None),
        (list[Postgres], None),
        (Any, None),
        (int, None),
        (None, None),
    ],
)
def test_which_annotations_ask_for_a_service(annotation: Any, expected: type | None) -> None:
    """A registered type, optional or annotated, asks for the service; a union with other types does not."""
    container = ServiceContainer()
    container.register(Postgres, Postgres)
    assert container.service_type(annotation) is expected
