"""Dataclasses that cost nothing until they are used.

For each frozen dataclass the standard library writes and compiles the source of six methods when its module is
imported. For the SDK's hundred classes that was two thirds of the time of its import, and a phone takes several times
as long. Here the standard library makes a class when it is first instantiated or inspected, and what can be shared by
all classes is not compiled at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - what others import from here
else:
    import dataclasses
    import reprlib
    from functools import cache
    from operator import attrgetter
    from threading import RLock

    _MAKING = RLock()
    _OF_THE_STUB = {"__dict__", "__weakref__", "__init__", "__dataclass_fields__", "__setattr__", "__delattr__"}

    def dataclass(*, frozen: bool, eq: bool = True, init: bool = True):
        """As the standard library's, for frozen classes: what it makes is the same, but later."""
        if not frozen:
            raise TypeError("use the standard library's dataclass for what can be changed")

        def prepare(cls: type) -> type:
            def make_first(self, *values, **named):
                _make(cls)
                cls.__init__(self, *values, **named)

            shared = {"__dataclass_fields__": _Fields(init), "__setattr__": _set, "__delattr__": _set}
            if init:
                shared["__init__"] = make_first
            if "__repr__" not in vars(cls):
                shared["__repr__"] = _repr
            if eq and "__eq__" not in vars(cls):
                shared["__eq__"] = _eq
                shared["__hash__"] = _hash
            for name, value in shared.items():
                setattr(cls, name, value)
            return cls

        return prepare

    class _Fields:
        """Stands for a class's fields until they are asked for, such as by ``dataclasses.fields``."""

        def __init__(self, init):
            self.init = init

        def __get__(self, instance, cls):
            owner = next(each for each in cls.__mro__ if vars(each).get("__dataclass_fields__") is self)
            _make(owner)
            return owner.__dataclass_fields__

    def _make(cls: type) -> None:
        """Let the standard library make the class: on the side, so that other threads never see half of it."""
        with _MAKING:
            own = vars(cls)
            fields = own["__dataclass_fields__"]
            if not isinstance(fields, _Fields):
                return
            namespace = {name: value for name, value in own.items() if name not in _OF_THE_STUB}
            made = type(cls)(cls.__name__, cls.__bases__, namespace)
            made = dataclasses.dataclass(frozen=True, repr=False, eq=False, init=fields.init)(made)
            for name, value in list(own.items()):
                if isinstance(value, dataclasses.Field):
                    if name in vars(made):  # its default
                        setattr(cls, name, vars(made)[name])
                    else:
                        delattr(cls, name)
            init = ("__init__",) if fields.init else ()
            for name in ("__match_args__", "__dataclass_params__", *init, "__dataclass_fields__"):
                setattr(cls, name, vars(made)[name])

    @cache
    def _values(cls: type):
        """What gives the values that count when two are compared."""
        names = [field.name for field in dataclasses.fields(cls) if field.compare]
        return attrgetter(*names) if names else lambda record: ()

    @cache
    def _hashed(cls: type):
        chosen = [
            field.name for field in dataclasses.fields(cls) if (field.compare if field.hash is None else field.hash)
        ]
        return attrgetter(*chosen) if chosen else lambda record: ()

    def _eq(self, other):
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = _values(self.__class__)
        return (values(self),) == (values(other),)

    def _hash(self):
        return hash(_hashed(self.__class__)(self))

    @reprlib.recursive_repr()
    def _repr(self):
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr]
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _set(self, name, value=None):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
