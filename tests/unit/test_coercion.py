from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from plusx.coercion import coerced_fields
from plusx.errors import UsageError


@dataclass
class Thing:
    count: int = 0
    share: float = 0.0
    on: bool = False
    name: str = ""
    numbers: tuple[float, ...] = ()
    pair: tuple[int, int] = (0, 0)
    changes: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "thing"


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("count", 3, 3),
        ("count", " 3 ", 3),
        ("count", "-3", -3),
        ("count", 3.0, 3),
        ("count", "3.0", 3),
        ("count", "12345678901234567890", 12345678901234567890),
        ("share", "1e-3", 0.001),
        ("share", 1, 1.0),
        ("on", False, False),
        ("name", "", ""),
        ("numbers", ["1", 2], (1.0, 2.0)),
        ("numbers", [], ()),
        ("pair", [1, "2"], (1, 2)),
        ("changes", {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_gets_its_fields_type(name, given, meant):
    found = coerced_fields(Thing, "thing", {name: given})[name]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("count", True, "thing.count is True, but must be a whole number"),
        ("count", 2.5, "a whole number"),
        ("count", "2.5", "a whole number"),
        ("count", "many", "a whole number"),
        ("count", float("inf"), "a whole number"),
        ("count", float("nan"), "a whole number"),
        ("count", None, "a whole number"),
        ("count", [1], "a whole number"),
        ("share", False, "a number"),
        ("share", None, "a number"),
        ("share", "half", "a number"),
        ("on", 0, "true or false"),
        ("on", "true", "true or false"),
        ("name", 5, "a text"),
        ("name", None, "a text"),
        ("numbers", 0.5, "a list of values"),
        ("numbers", "0.5", "a list of values"),
        ("numbers", [True], "a number"),
        ("pair", [1, 2, 3], "a list of 2 values"),
        ("changes", [1], "a map of fields"),
        ("counts", 3, "no field of 'thing' is called 'counts'; did you mean 'count'"),
        ("kind", "other", "no field of 'thing' is called 'kind'"),
    ],
)
def test_a_value_that_does_not_fit_is_one_sentence(name, given, words):
    with pytest.raises(UsageError, match=words):
        coerced_fields(Thing, "thing", {name: given})
