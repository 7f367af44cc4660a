"""What the Grafana dashboard shows: rows of panels, each with what to do when it is bad."""

from dataclasses import dataclass
from typing import Final

_SCORES: Final = 'opportune_request_seconds_count{route=~"/v1/(score|render).*"}'
_FALLBACK: Final = 'opportune_answers_total{fallback!="none"}'
_HELD: Final = 'opportune_decisions_total{hold!="none"}'
_COMPARED: Final = 'opportune_shadow_recipients_total{outcome="compared"}'
_OTHERWISE: Final = 'opportune_shadow_recipients_total{outcome="otherwise"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Args:
        help: What it shows, and what to do when it is bad.
        asks: Pairs of a PromQL expression and its legend.
        bad_above, bad_below: A bar, where one is known.
        kind: `timeseries`, `stat` or `table`.
    """

    title: str
    help: str
    asks: tuple[tuple[str, str], ...]
    unit: str = "short"
    bad_above: float | None = None
    bad_below: float | None = None
    kind: str = "timeseries"
    width: int = 12

    @property
    def height(self) -> int:
        """A number needs less room than a picture."""
        return 5 if self.kind == "stat" else 8


def _rate(metric: str, *, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def _of_decisions(metric: str, *, by: str) -> tuple[tuple[str, str], ...]:
    """The share of all decisions."""
    every = "scalar(sum(rate(opportune_decisions_total[$__rate_interval])))"
    return ((f"{_rate(metric, by=by)} / {every}", f"{{{{{by}}}}}"),)


def _quantiles(metric: str, *chances: float, by: str = "") -> tuple[tuple[str, str], ...]:
    labels = f"le, {by}" if by else "le"
    return tuple(
        (
            f"histogram_quantile({chance}, {_rate(f'{metric}_bucket', by=labels)})",
            f"p{chance * 100:.0f} {{{{{by}}}}}" if by else f"p{chance * 100:.0f}",
        )
        for chance in chances
    )


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    ("In one look", (
        Panel(
            "Instances that are ready",
            "Instances whose /readyz is true. None: nobody scores; look whether the processes run, "
            "and what their logs say of the start.",
            (("sum(opportune_ready) or vector(0)", "ready"),),
            bad_below=1, kind="stat", width=6,
        ),
        Panel(
            "Late answers",
            "Share of scoring calls that were answered after their deadline. Above 0.1 %: see "
            "where the time goes in Time by stage, and give the service another process.",
            (("sum(rate(opportune_late_answers_total[$__rate_interval])) / "
              f"sum(rate({_SCORES}[$__rate_interval]))", "late"),),
            "percentunit", bad_above=0.001, kind="stat", width=6,
        ),
        Panel(
            "Parts that are no model's own",
            "Share of parts of answers that are a fallback. When it jumps, Fallback by reason says "
            "why; mailing many unknown people raises it as well, and is no fault.",
            ((f"sum(rate({_FALLBACK}[$__rate_interval])) / "
              "sum(rate(opportune_answers_total[$__rate_interval]))", "fallback"),),
            "percentunit", bad_above=0.5, kind="stat", width=6,
        ),
        Panel(
            "Breaker",
            "1 while a dependency fails and is not asked; scores go on without it. Look at the "
            "store: its process, disk or network. It is asked once a second until it answers.",
            (("max by (dependency) (opportune_breaker_open)", "{{dependency}}"),),
            bad_above=1, kind="stat", width=6,
        ),
    )),
    ("Calls", (
        Panel(
            "Calls a second",
            "By route. When it falls to nothing, look at the sender; /readyz tells about us.",
            ((_rate("opportune_request_seconds_count", by="route"), "{{route}}"),),
            "reqps",
        ),
        Panel(
            "Errors a second",
            "Answers of 400 and above. 401 and 403 are keys, 429 a key's limit, 400 and 413 a "
            "caller's bodies; 503 says there is no room, 500 is a fault of ours: see the log by "
            "X-Request-Id.",
            ((_rate('opportune_request_seconds_count{status=~"[45].."}', by="route, status"),
              "{{status}} {{route}}"),),
            "reqps",
        ),
        Panel(
            "Latency by route",
            "From the arrival of a call's bytes, waiting included. A single score has 150 ms "
            "unless OPPORTUNE_DEADLINE_MS says otherwise; a batch has 2 ms more for each one.",
            _quantiles("opportune_request_seconds", 0.5, 0.95, 0.99, by="route"),
            "s", bad_above=0.15,
        ),
        Panel(
            "Time by stage",
            "Where the time of scoring calls goes. A slow read is the store, a slow score the "
            "models or a busy processor; where no stage is slow and latency is, calls wait for "
            "each other: another process helps.",
            _quantiles("opportune_stage_seconds", 0.5, 0.95, by="stage"),
            "s",
        ),
        Panel(
            "Late answers and deadlines that are no number",
            "Late answers: as above. An ignored deadline is a fault of the caller's X-Deadline-Ms, "
            "who then gets the usual one.",
            (("sum(rate(opportune_late_answers_total[$__rate_interval]))", "late"),
             ("sum(rate(opportune_deadlines_ignored_total[$__rate_interval]))", "ignored")),
            "reqps", bad_above=1,
        ),
    )),
    ("Answers", (
        Panel(
            "Fallback by reason",
            "Share of a model's parts by why they are not its own. no_model: promote one; "
            "store_unavailable: see Breaker; deadline and overloaded: see Late answers; bad_score: "
            "roll the model back; internal: see the log; switched_off: a person did that.",
            ((f"{_rate(_FALLBACK, by='model, fallback')} / on (model) group_left () "
              f"{_rate('opportune_answers_total', by='model')}", "{{model}}: {{fallback}}"),),
            "percentunit",
        ),
        Panel(
            "Feature age",
            "Age of the newest event behind an answer. When the median rises by the hour, events "
            "do not come in: see Events by outcome, then the webhooks and `opportune check`.",
            _quantiles("opportune_feature_age_seconds", 0.5, 0.95),
            "s",
        ),
        Panel(
            "Decisions by arm",
            "Share of the holdout: about OPPORTUNE_HOLDOUT, or the sender mails other people.",
            _of_decisions("opportune_decisions_total", by="arm"),
            "percentunit",
        ),
        Panel(
            "Exploration",
            "Share of decisions of which the hour, the first item or the hold was drawn. Far from "
            "OPPORTUNE_EPSILON and OPPORTUNE_EPSILON_HOUR, less the holdout and dry runs: what is "
            "learnt from the log suffers.",
            _of_decisions("opportune_explored_total", by="what"),
            "percentunit",
        ),
        Panel(
            "Mails held back",
            "Share by reason. A jump of no_allowed_hour or never_allowed comes from the sender's "
            "rules, one of not_worth_it from a churn model or the sender's values.",
            _of_decisions(_HELD, by="hold"),
            "percentunit",
        ),
        Panel(
            "What binds the hour",
            "Share of decisions whose best hour a rule of the sender's forbade. One that binds "
            "nearly everybody leaves nothing to choose.",
            _of_decisions("opportune_decisions_total", by="binding"),
            "percentunit",
        ),
    )),
    ("Models", (
        Panel(
            "Versions that serve",
            "How many instances serve which version. Two of one model for longer than "
            "OPPORTUNE_POLL_S: an instance refuses the new one; none: its parts are the priors.",
            (("sum by (model, version) (opportune_model_loaded)", ""),),
            kind="table",
        ),
        Panel(
            "Bundles refused",
            "Champions or shadows that were not taken; the one before serves on. The log says why: "
            "promote another one, or `opportune rollback`.",
            (("sum by (model) (increase(opportune_bundles_refused_total[$__rate_interval]))",
              "{{model}}"),),
            bad_above=1,
        ),
        Panel(
            "Shadow: who would get something else",
            "Share of compared recipients whom the challenger would answer otherwise: an hour, "
            "band or first item. See `opportune shadow --report` before promoting it.",
            ((f"{_rate(_OTHERWISE, by='model')} / {_rate(_COMPARED, by='model')}", "{{model}}"),),
            "percentunit",
        ),
        Panel(
            "Shadow: what became of the recipients",
            "failed: the challenger gave no number, do not promote it. lost: more recipients than "
            "it can score beside the answers; lower OPPORTUNE_SHADOW_SHARE.",
            ((_rate("opportune_shadow_recipients_total", by="model, outcome"),
              "{{model}}: {{outcome}}"),),
        ),
    )),
    ("Events and what may be lost", (
        Panel(
            "Events by outcome",
            "accepted, duplicate, quarantined, or why they were refused. Nothing accepted where "
            "there usually is: the site or the mail provider does not send; `opportune check`.",
            ((_rate("opportune_events_total", by="outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Decisions lost",
            "Not in the log, so that nobody learns of them, or kept in one process alone, so that "
            "a second render may differ. not_written: disk or store; queue_full: both are slow.",
            (("sum by (why) (increase(opportune_decisions_lost_total[$__rate_interval]))",
              "log: {{why}}"),
             ("sum by (why) (increase(opportune_kept_lost_total[$__rate_interval]))",
              "kept: {{why}}")),
            bad_above=1,
        ),
        Panel(
            "Breaker opened",
            "How often a dependency went away. Again and again: the store is too slow or restarts.",
            (("sum by (dependency) (increase(opportune_breaker_opened_total[$__rate_interval]))",
              "{{dependency}}"),),
            bad_above=1,
        ),
    )),
)  # fmt: skip
