"""Values from YAML, a command line or a Python call, given the types of a dataclass's fields: those know fewer."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from plusx.errors import UsageError, look_up

SPOKEN: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def coerced_fields(kind: type[Any], part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give values the types of a dataclass's fields.

    Args:
        kind: The dataclass.
        part: What it is called in an error.
        values: Values by the fields' names; "1e-3" may stand for a number, a list for a tuple.

    Raises:
        UsageError: There is no such field, or a value does not fit its type.
    """
    types = typing.get_type_hints(kind)
    known = {one.name: types[one.name] for one in dataclasses.fields(kind)}
    return {
        name: as_type(f"{part}.{name}", value, look_up(f"field of {part!r}", name, known))
        for name, value in values.items()
    }


def as_type(name: str, value: Any, wanted: Any) -> Any:  # noqa: ANN401 - any value may come from a file
    """Return a value as the type that is wanted; `name` is what an error calls it.

    Raises:
        UsageError: It does not fit.
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is tuple:
        counted = Ellipsis not in arguments
        if isinstance(value, (list, tuple)) and (not counted or len(value) == len(arguments)):
            return tuple(as_type(name, item, arguments[0]) for item in value)
        raise UsageError(f"{name} is {value!r}, but must be a list of {f'{len(arguments)} ' if counted else ''}values")
    if origin is not None:
        if isinstance(value, Mapping):
            return dict(value)
        raise UsageError(f"{name} is {value!r}, but must be a map of fields")
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    try:
        if wanted is float and not isinstance(value, bool):
            return float(value)
        if wanted is int and isinstance(value, (str, float)):
            return _whole(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{name} is {value!r}, but must be {SPOKEN.get(wanted, str(wanted))}")


def _whole(value: str | float) -> int:
    """Return a whole number from "12", "1e3" or 12.0; a text of digits keeps all of them."""
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    number = float(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)
