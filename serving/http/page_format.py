"""Numbers and moments as a person reads them; the exact ones stand beside them in the page."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from markupsafe import Markup

from features.events.schema import SECOND_US
from serving.http.looks import utc

_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float) -> Markup:
    """Four digits to read, the whole number for who copies it.

    >>> number(0.123456)
    Markup('<data value="0.123456">0.1235</data>')
    """
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.4g}")


def percent(value: float) -> Markup:
    """A chance; of one below a hundredth two digits are told."""
    shown = f"{100 * value:.1f}" if value >= 0.01 else f"{100 * value:.2g}"
    return Markup('<data value="{}">{}\u202f%</data>').format(repr(value), shown)


def points(value: float) -> str:
    """A difference of chances.

    >>> points(0.2)
    '+20.0'
    """
    return f"{100 * value:+.1f}".replace("-", "\u2212")


def span(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> span(7_200), span(30)
    ('2 h', '30 s')
    """
    size, unit = next(((size, unit) for size, unit in _SPANS if seconds >= size), _SPANS[-1])
    return f"{seconds / size:.3g} {unit}"


def moment(at: int, zone: tzinfo, *, has_year: bool = True) -> Markup:
    """A moment (microseconds) on a clock, and exactly in UTC."""
    local = datetime.fromtimestamp(at / SECOND_US, UTC).astimezone(zone)
    year = f" {local.year}" if has_year else ""
    shown = f"{local:%a} {local.day} {local:%b}{year}, {local:%H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(utc(at), shown)


def hour(at: int, zone: tzinfo) -> Markup:
    """A moment of the next days, of which everybody knows the year."""
    return moment(at, zone, has_year=False)


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "number": number,
    "percent": percent,
    "points": points,
    "span": span,
    "moment": moment,
    "hour": hour,
}
