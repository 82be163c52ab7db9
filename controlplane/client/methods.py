"""Each call is described once; on a Client it blocks, on an AsyncClient it is awaited, on the class it only describes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from controlplane.client.call import Call, Pages, Stream
from controlplane.client.drivers import Awaiting, Blocking

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
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


class _Iterating(Generic[P, D, T]):
    """A static method that describes something with many items becomes one that iterates over them, by `verb` of the driver."""

    verb: str

    def __init__(self, describe: Callable[P, D]) -> None:
        self._describe = describe
        update_wrapper(cast("Any", self), describe)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> D:
        return self._describe(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Group[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Group[Awaiting], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Group[Any] | None, owner: type) -> Any:
        if instance is None:
            return self
        iterate = getattr(instance.driver, self.verb)

        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return iterate(self._describe(*args, **kwargs))

        return update_wrapper(run, self._describe)


class pages(_Iterating[P, Pages[T], T], Generic[P, T]):  # noqa: N801 - a decorator
    """Of a list that is read page by page: all its items."""

    verb = "each"


class stream(_Iterating[P, Stream[T], T], Generic[P, T]):  # noqa: N801 - a decorator
    """Of a stream: its events, for as long as it is asked to."""

    verb = "follow"
