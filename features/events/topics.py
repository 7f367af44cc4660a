"""Topics of an imported row: the words of a text, or the entries of a list."""

from functools import lru_cache
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from features.events.cells import text_of, texts_of
from features.events.schema import MAX_TOPICS
from features.events.sources import Reader, Spec, exactly_one, short_column
from features.events.words import words_of


class Words(Spec):
    """Topics from running text: words of letters, lower-cased, the first `max` different ones."""

    min_length: int = Field(3, ge=1)
    max: int = Field(8, ge=1, le=MAX_TOPICS)
    stop_words: tuple[str, ...] = ()

    def of(self, text: str) -> tuple[str, ...]:
        """The topics in a text.

        >>> Words(stop_words=("of",)).of("SET OF 6 T-LIGHTS, set")
        ('set', 'lights')
        """
        stop = {word.lower() for word in self.stop_words}
        return words_of(text, shortest=self.min_length, most=self.max, stop=stop)


class TopicsSource(Spec):
    """Texts from a column: its `words`, split at a `separator`, or a JSON list or `a|b`."""

    column: str | None = None
    constant: list[str] | None = None
    words: Words | None = None
    separator: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        exactly_one(self, "column", "constant")
        if self.words is not None and self.separator is not None:
            raise ValueError("give `words` or `separator`, not both")
        return self

    def columns(self) -> list[str]:
        """The columns it reads."""
        return [] if self.column is None else [self.column]

    def reader(self, field: str) -> Reader:
        """As a function of a row."""
        if (column := self.column) is None:
            constant = tuple(self.constant or ())
            return lambda _row, _number: constant
        if self.words is not None:
            topics_in = lru_cache(maxsize=65_536)(self.words.of)
            return lambda row, _: topics_in(text_of(row.get(column), field))
        separator = self.separator
        return lambda row, _: texts_of(row.get(column), field, separator=separator)


Topics = Annotated[TopicsSource, BeforeValidator(short_column)]
