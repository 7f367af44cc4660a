"""Conditions of a mapping: rows that fail one are left out on purpose, not rejected."""

from collections.abc import Callable
from typing import Any, Final, Self

from pydantic import Field, model_validator

from features.events.cells import Row, is_missing, number_of, text_of
from features.events.sources import Spec

_NUMERIC: Final[dict[str, tuple[str, Callable[[float, float], bool]]]] = {
    "above": (">", lambda number, bound: number > bound),
    "at_least": (">=", lambda number, bound: number >= bound),
    "below": ("<", lambda number, bound: number < bound),
    "at_most": ("<=", lambda number, bound: number <= bound),
}
_TEXTUAL: Final[dict[str, tuple[str, Callable[[str, Any], bool]]]] = {
    "equals": ("is", lambda text, wanted: text == wanted),
    "not_equals": ("is not", lambda text, wanted: text != wanted),
    "one_of": ("is one of", lambda text, wanted: text in wanted),
    "starts_with": ("starts with", lambda text, wanted: text.startswith(wanted)),
    "not_starts_with": ("does not start with", lambda text, wanted: not text.startswith(wanted)),
}
_TESTS: Final = ("present", *_NUMERIC, *_TEXTUAL)


class Condition(Spec):
    """One column and one test that a row must pass to be imported.

    A missing cell passes `present: false`, `not_equals` and `not_starts_with` only. A cell that
    a number is compared with but is none is a mistake of the file: its row is rejected.
    """

    column: str
    present: bool | None = None
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    equals: str | None = None
    not_equals: str | None = None
    one_of: list[str] | None = Field(None, min_length=1)
    starts_with: str | None = None
    not_starts_with: str | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if sum(getattr(self, test) is not None for test in _TESTS) != 1:
            raise ValueError("give exactly one test: " + ", ".join(f"`{test}`" for test in _TESTS))
        return self

    @property
    def text(self) -> str:
        """The condition in words, as the summary of an import counts it."""
        test, wanted = self._test()
        if test == "present":
            return f"{self.column} is {'present' if wanted else 'missing'}"
        words = (_NUMERIC.get(test) or _TEXTUAL[test])[0]
        return f"{self.column} {words} {wanted:g}" if test in _NUMERIC else (
            f"{self.column} {words} {wanted}"
        )  # fmt: skip

    def check(self) -> Callable[[Row], bool]:
        """The condition as a function of a row.

        The function raises EventRejectedError where a number is needed and is not there.
        """
        column = self.column
        test, wanted = self._test()
        if test == "present":
            return lambda row: is_missing(row.get(column)) is not wanted
        if test in _TEXTUAL:
            passes_text = _TEXTUAL[test][1]
            return lambda row: passes_text(text_of(row.get(column), column), wanted)
        passes = _NUMERIC[test][1]

        def compare(row: Row) -> bool:
            number = number_of(row.get(column), column)
            return number is not None and passes(number, wanted)

        return compare

    def _test(self) -> tuple[str, Any]:
        return next(
            (test, wanted) for test in _TESTS if (wanted := getattr(self, test)) is not None
        )
