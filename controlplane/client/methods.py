"""Each call is described once; on a Client it blocks, on an AsyncClient it is awaited, on the class it only describes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from controlplane.client.call import Call, Pages, Stream
from controlplane.client.drivers import Awaiting, Blocking

P = ParamSpec("P")
T = TypeVar("T")
Driver = TypeVar("Driver", bound=Blocking | Awaiting)


class Group(Generic[Driver]):
    """Calls that belong together, such as those about tokens."""

    def __init__(self, driver: Driver) -> None:
        self.driver: Driver = driver


class call(Generic[P, T]):  # noqa: N801 - a decorator
    """A static method that describes a Call becomes one that does it."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe = describe
        update_wrapper(cast("Any", self), describe)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        return self._describe(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> call[P, T]: ...
    @overload
    def __get__(self, instance: Group[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Group[Awaiting], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Group[Any] | None, owner: type) -> Any:
        if instance is None:
            return self

        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance.driver.run(self._describe(*args, **kwargs))

        return update_wrapper(run, self._describe)


class pages(Generic[P, T]):  # noqa: N801 - a decorator
    """A static method that describes Pages becomes one that iterates over all their items."""

    def __init__(self, describe: Callable[P, Pages[T]]) -> None:
        self._describe = describe
        update_wrapper(cast("Any", self), describe)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Pages[T]:
        return self._describe(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> pages[P, T]: ...
    @overload
    def __get__(self, instance: Group[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Group[Awaiting], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Group[Any] | None, owner: type) -> Any:
        if instance is None:
            return self

        def each(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance.driver.each(self._describe(*args, **kwargs))

        return update_wrapper(each, self._describe)


class stream(Generic[P, T]):  # noqa: N801 - a decorator
    """A static method that describes a Stream becomes one that iterates over its events, for as long as it is asked to."""

    def __init__(self, describe: Callable[P, Stream[T]]) -> None:
        self._describe = describe
        update_wrapper(cast("Any", self), describe)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        return self._describe(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> stream[P, T]: ...
    @overload
    def __get__(self, instance: Group[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Group[Awaiting], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Group[Any] | None, owner: type) -> Any:
        if instance is None:
            return self

        def follow(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance.driver.follow(self._describe(*args, **kwargs))

        return update_wrapper(follow, self._describe)
