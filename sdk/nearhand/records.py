"""Dataclasses that cost next to nothing until they are used, and little then.

For each frozen dataclass the standard library writes and compiles the source of six methods when its module is
imported. For the SDK's hundred classes that was two thirds of the time of its import, and a phone takes several times
as long. Here nothing is compiled before it pays: what can be shared by all classes is ordinary code, the fields of the
first instances are set one by one, and the standard library makes a class when somebody inspects it. Until then its
module is not even imported: that takes as long as three of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import get_annotations
from typing import TYPE_CHECKING, Any


def field_names(cls: type) -> tuple[str, ...]:
    """The names of a dataclass's fields.

    Unlike ``dataclasses.fields`` it does not let the standard library make a class that is plain: one that inherits no
    fields, and whose annotations are all of fields that can be given by position.
    """
    annotations = _plain(cls)
    if annotations is not None:
        return tuple(annotations)
    from dataclasses import fields

    return tuple(field.name for field in fields(cls))


def parts(cls: type) -> Mapping[str, tuple[Any, dataclasses.Field[Any]]]:
    """The fields of a dataclass: name → its annotation, and what ``dataclasses.field`` says of it.

    A class that is plain is not made, see :func:`field_names`.
    """
    import dataclasses

    annotations = _plain(cls)
    if annotations is None:
        return {field.name: (field.type, field) for field in dataclasses.fields(cls)}
    own, described = vars(cls), vars(cls)["__dataclass_fields__"].described
    found = {}
    for name, annotation in annotations.items():
        how = described[name].how if name in described else {"default": own.get(name, dataclasses.MISSING)}
        found[name] = annotation, dataclasses.field(**how)
    return found


if TYPE_CHECKING:
    import dataclasses
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - what others import from here
    from dataclasses import field as field  # noqa: PLC0414

    def _plain(cls: type) -> dict[str, Any] | None: ...

else:
    import reprlib
    from functools import cache
    from operator import attrgetter
    from threading import RLock

    _MAKING = RLock()
    _COMPILED_AFTER = 100
    """Compiling an initializer takes as long as it saves in some hundred calls."""
    _NO_PLAIN_FIELD = ("ClassVar", "InitVar", "KW_ONLY")
    _NOTHING = {}
    _OF_THE_STUB = {"__dict__", "__weakref__", "__init__", "__dataclass_fields__", "__setattr__", "__delattr__"}
    _OF_THE_STUB |= {"__stub__"}

    class _Described:
        """What ``dataclasses.field`` will be told of a field."""

        __slots__ = ("how",)

        def __init__(self, how):
            self.how = how

        @property
        def is_given(self):
            return self.how.get("init", True)

    def field(**how):
        """As the standard library's."""
        return _Described(how)

    def dataclass(*, frozen: bool, eq: bool = True, init: bool = True):
        """As the standard library's, for frozen classes: what it makes is the same, but later."""
        if not frozen:
            raise TypeError("use the standard library's dataclass for what can be changed")

        def prepare(cls: type) -> type:
            own = vars(cls)
            described = {}
            for name, value in own.items():
                if type(value) is _Described:
                    described[name] = value
                elif type(value).__name__ == "Field":
                    raise TypeError(f"use nearhand.records.field for {cls.__name__}.{name}")
            fields = _Fields(cls, described or _NOTHING, init)
            for name, each in described.items():
                if "default" in each.how:
                    setattr(cls, name, each.how["default"])
                else:
                    delattr(cls, name)
            # Nothing here is made for this class alone but the stub: the garbage collector visits it again and again.
            cls.__dataclass_fields__ = fields
            cls.__setattr__ = cls.__delattr__ = _set
            if init:
                cls.__init__ = make_first
            if "__repr__" not in own:
                cls.__repr__ = _repr
            if eq and "__eq__" not in own:
                cls.__eq__ = _eq
                cls.__hash__ = _hash
            return cls

        return prepare

    def _plain(cls):
        """The annotations of a class that the standard library need not make; None: it has, or has to."""
        stub = vars(cls).get("__dataclass_fields__")
        return stub.plain(cls) if isinstance(stub, _Fields) else None

    def make_first(self, *values, **named):
        """The initializer of every class until it is first instantiated."""
        makers = [each for each in type(self).__mro__ if {"__init__", "__dataclass_fields__"} <= vars(each).keys()]
        cls = next((each for each in makers if vars(each)["__init__"] is make_first), None)
        if cls is None:  # another thread has just made it
            makers[0].__init__(self, *values, **named)
            return
        found = vars(cls)["__dataclass_fields__"]
        fields = found if isinstance(found, _Fields) else vars(cls)["__stub__"][0]
        annotations = fields.plain(cls)
        if annotations is None:
            _compile(cls, fields)
        else:
            _set_one_by_one(cls, fields, annotations)
        cls.__init__(self, *values, **named)

    class _Fields:
        """Stands for a class's fields until they are asked for, such as by ``dataclasses.fields``.

        Attributes:
            described: the fields that the class gives a ``dataclasses.field``.
            init: whether the class is given an initializer; inherits: whether a base has fields.
        """

        __slots__ = ("described", "inherits", "init")

        def __init__(self, cls, described, init):
            self.described, self.init = described, init
            self.inherits = any("__dataclass_fields__" in vars(base) for base in cls.__mro__[1:-1])

        def plain(self, cls):
            """The annotations of a plain class, see :func:`field_names`; None: it is not plain."""
            if self.inherits or any(each.how.get("kw_only") is True for each in self.described.values()):
                return None
            annotations = vars(cls).get("__annotations__") or get_annotations(cls)
            texts = " ".join(map(str, annotations.values()))
            return None if any(word in texts for word in _NO_PLAIN_FIELD) else annotations

        def __get__(self, instance, cls):
            owner = next(each for each in cls.__mro__ if vars(each).get("__dataclass_fields__") is self)
            with _MAKING:
                if vars(owner)["__dataclass_fields__"] is self:
                    made = _standard(owner, self, init=False)
                    owner.__stub__ = (self,)  # in a tuple, because a stub is a descriptor
                    for name in ("__match_args__", "__dataclass_params__", "__dataclass_fields__"):
                        setattr(owner, name, getattr(made, name))
            return owner.__dataclass_fields__

    def _standard(cls, fields, *, init):
        """What the standard library makes of a class: on the side, so that no thread ever sees half of it."""
        import dataclasses

        namespace = {name: value for name, value in vars(cls).items() if name not in _OF_THE_STUB}
        described = {name: dataclasses.field(**each.how) for name, each in fields.described.items()}
        made = type(cls)(cls.__name__, cls.__bases__, namespace | described)
        # What refuses changes is compiled too, though it is shared here: only where the standard library insists.
        made = dataclasses.dataclass(frozen=init or fields.inherits, repr=False, eq=False, init=init)(made)
        made.__dataclass_params__.frozen, made.__dataclass_params__.init = True, fields.init
        return made

    def _compile(cls, fields):
        """Give a class the standard library's initializer."""
        made = _standard(cls, fields, init=True)
        cls.__match_args__, cls.__init__ = made.__match_args__, made.__init__

    def _set_one_by_one(cls, fields, annotations):
        """Give a plain class an initializer that sets one field after the other, until compiling one pays."""
        own, described = vars(cls), fields.described
        names = tuple(name for name in annotations if name not in described or described[name].is_given)
        constants = {name: own[name] for name in annotations if name in own}  # those of described fields are there too
        makers = {
            name: each.how["default_factory"] for name, each in described.items() if "default_factory" in each.how
        }
        known, needed = frozenset(names), frozenset(names) - constants.keys() - makers.keys()
        order = [name for name in annotations if name in known or name in makers]
        is_simple = len(order) == len(names)
        finish, put, left = hasattr(cls, "__post_init__"), object.__setattr__, _COMPILED_AFTER

        def __init__(self, *values, **named):  # noqa: N807 - it becomes the class's own
            nonlocal left
            left -= 1
            if len(values) == len(names) and not named and is_simple and left >= 0:
                self.__dict__.update(zip(names, values))  # noqa: B905 - the keyword takes as long as all the rest
                if finish:
                    self.__post_init__()
                return
            given = dict(zip(names, values, strict=False))
            given.update(named)
            if left < 0 or len(given) != len(values) + len(named) or not needed <= given.keys() <= known:
                _compile(cls, fields)
                cls.__init__(self, *values, **named)  # which says what is wrong with the arguments, if anything is
                return
            for name in order:
                if name in given:
                    put(self, name, given[name])
                else:
                    put(self, name, makers[name]() if name in makers else constants[name])
            if finish:
                self.__post_init__()

        cls.__match_args__, cls.__init__ = names, __init__

    @cache
    def _values(cls: type):
        """What gives the values that count when two are compared."""
        import dataclasses

        names = [field.name for field in dataclasses.fields(cls) if field.compare]
        return attrgetter(*names) if names else lambda record: ()

    @cache
    def _hashed(cls: type):
        import dataclasses

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
        import dataclasses

        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr]
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _set(self, name, value=None):
        import dataclasses

        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
