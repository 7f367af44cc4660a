"""Is the log fit to learn from? Volume and freshness per source, and what the labels will miss.

Every rule is a plain count over the log before `as_of`, with its limit in the open. An *alarm*
is something broken (a source gone silent, a volume that fell); a *notice* is something that
costs quality and can be mended at the source.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import polars as pl

from features.events.schema import DAY_US, SECOND_US

WINDOW_DAYS: Final = 28
MIN_ACTIVE_DAYS: Final = 14  # a source that spoke on so many days is expected to speak
SILENT_DAYS: Final = 2
REMEMBERED_DAYS: Final = 91  # who has been silent for longer is no source any more
LOW_VOLUME, HIGH_VOLUME, MIN_VOLUME = 0.3, 3.0, 50
MAX_UNNAMED_MAIL: Final = 0.05
MAX_UNKNOWN_ZONE: Final = 0.5
MAX_FAST_CLICKS: Final = 0.2
FAST_CLICK_S: Final = 3
MAX_PER_DAY: Final = 1_000
NO_SOURCE: Final = "(no provider)"


class Severity(StrEnum):
    """How bad a finding is."""

    ALARM = "alarm"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, how much, and what to do about it."""

    severity: Severity
    where: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Counts per source and type over the window, and what they say.

    Args:
        sources: Columns provider, type, events, recipients, first_at, newest_at (microseconds).
    """

    sources: pl.DataFrame
    findings: list[Finding]

    @property
    def has_alarm(self) -> bool:
        """Whether something is broken."""
        return any(finding.severity is Severity.ALARM for finding in self.findings)


def quality(events: pl.LazyFrame, *, as_of: int) -> Quality:
    """Judge the four weeks before a moment (microseconds)."""
    named = events.with_columns(
        pl.when(pl.col("provider") == "")
        .then(pl.lit(NO_SOURCE))
        .otherwise("provider")
        .alias("provider")
    )
    begin = as_of - WINDOW_DAYS * DAY_US
    window = named.filter(pl.col("received_at").is_between(begin, as_of, closed="left")).collect()
    sources = (
        window.group_by("provider", "type")
        .agg(
            pl.len().alias("events"),
            pl.col("recipient_key").n_unique().alias("recipients"),
            pl.col("occurred_at").min().alias("first_at"),
            pl.col("occurred_at").max().alias("newest_at"),
        )
        .sort("provider", "events", descending=[False, True])
    )
    silent = _silent(named, as_of)
    findings = [*silent.values(), *_labels(window), *_people(window)]
    findings += _volume(window.filter(~pl.col("provider").is_in(list(silent))), as_of)
    return Quality(sources, sorted(findings, key=lambda f: (f.severity.value, f.where)))


def _silent(named: pl.LazyFrame, as_of: int) -> dict[str, Finding]:
    """Sources that spoke on most days of four weeks and then no more, by name."""
    first = as_of - (REMEMBERED_DAYS + WINDOW_DAYS) * DAY_US
    heard = named.filter(pl.col("received_at").is_between(first, as_of, closed="left"))
    days = heard.select("provider", pl.col("received_at") // DAY_US).unique().collect()
    findings = {}
    for (provider,), rows in days.partition_by("provider", as_dict=True).items():
        heard_on = rows["received_at"].sort()
        silent = as_of // DAY_US - 1 - heard_on[-1]
        spoke = int((heard_on > heard_on[-1] - WINDOW_DAYS).sum())
        if SILENT_DAYS <= silent <= REMEMBERED_DAYS and spoke >= MIN_ACTIVE_DAYS:
            what = f"no event for {silent} whole days; before, on {spoke} of {WINDOW_DAYS} days"
            remedy = "check the webhook or export; `opportune ingest` takes what was missed"
            findings[str(provider)] = Finding(Severity.ALARM, str(provider), what, remedy)
    return findings


def _volume(window: pl.DataFrame, as_of: int) -> list[Finding]:
    """Days that are far from the same weekday before."""
    today = as_of // DAY_US
    days = window.with_columns((pl.col("received_at") // DAY_US).alias("day"))
    daily = days.group_by("provider", "day").len()
    findings = []
    for (provider,), rows in (
        daily.sort("provider", "day").partition_by("provider", as_dict=True).items()
    ):
        counts = dict(rows.select("day", "len").iter_rows())
        usual = [counts.get(today - 1 - 7 * week, 0) for week in range(1, 4)]
        median = sorted(usual)[1]
        last = counts.get(today - 1, 0)
        if median >= MIN_VOLUME and not LOW_VOLUME <= last / median <= HIGH_VOLUME:
            what = f"{last:,} events yesterday, {median:,} on that weekday before"
            remedy = "a big send or a broken source? compare with the provider's own count"
            findings.append(Finding(Severity.ALARM, str(provider), what, remedy))
    return findings


def _labels(window: pl.DataFrame) -> list[Finding]:
    """What the labels of the models will miss."""
    findings = []
    mail = window.filter(pl.col("type").is_in(["delivered", "opened", "clicked"]))
    unnamed = _share(mail, pl.col("message_key") == "")
    if unnamed > MAX_UNNAMED_MAIL:
        what = f"{unnamed:.0%} of mail events have no message_key"
        remedy = "without it an open or click cannot be joined to its mail; send the message's id"
        findings.append(Finding(Severity.NOTICE, "mail", what, remedy))
    human = window.filter(pl.col("actor") == "human")
    unzoned = _share(human, pl.col("utc_offset_min").is_null())
    if unzoned > MAX_UNKNOWN_ZONE:
        what = f"{unzoned:.0%} of people's events have no local clock"
        remedy = "send `timezone` or `utc_offset_min`; a known zone is worth 0.07 nats an event"
        findings.append(Finding(Severity.NOTICE, "clock", what, remedy))
    if len(mail) and not len(mail.filter(pl.col("type") == "clicked")):
        what = f"{len(mail):,} mail events and not one click"
        remedy = "check that click tracking is on and that its events are sent here"
        findings.append(Finding(Severity.ALARM, "mail", what, remedy))
    return findings


def _people(window: pl.DataFrame) -> list[Finding]:
    """Keys that are no single person, and clicks that are no person at all."""
    findings = []
    day = (pl.col("occurred_at") // DAY_US).alias("day")
    busiest: Any = window.group_by("recipient_key", day).len()["len"].max()
    if busiest is not None and busiest > MAX_PER_DAY:
        what = f"one recipient key has {busiest:,} events in a day"
        remedy = "a shared key or a robot; its features mean nothing"
        findings.append(Finding(Severity.NOTICE, "recipients", what, remedy))
    delivered = window.filter(pl.col("type") == "delivered", pl.col("message_key") != "")
    clicked = window.filter(pl.col("type") == "clicked", pl.col("actor") == "human")
    first = delivered.group_by("message_key").agg(pl.col("occurred_at").min().alias("sent_at"))
    timed = clicked.join(first, on="message_key", how="inner")
    waited = pl.col("occurred_at") - pl.col("sent_at")
    fast = _share(timed, waited < FAST_CLICK_S * SECOND_US)
    if len(timed) >= MIN_VOLUME and fast > MAX_FAST_CLICKS:
        what = f"{fast:.0%} of human clicks come within {FAST_CLICK_S} s of delivery"
        remedy = "link scanners; let the provider's bot filter label them as machine"
        findings.append(Finding(Severity.NOTICE, "clicks", what, remedy))
    return findings


def _share(frame: pl.DataFrame, condition: pl.Expr) -> float:
    return frame.filter(condition).height / frame.height if frame.height else 0.0
