"""Prometheus metrics: few labels, all of closed sets, none with a key in it."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from models.specs import SPECS
from serving.asks import Champions, Prediction
from serving.decision import Decision
from serving.decision_log import Lost
from serving.guard import STORE
from serving.stages import Laps, Stage

_Metric = TypeVar("_Metric", Counter, Histogram)
DAY_S: Final = 86_400
DRAWN: Final = ("hour", "item", "hold")  # what a decision may explore

# From a minute to a year: what the newest event of a recipient may be old.
AGE_S: Final = tuple(
    float(seconds) for seconds in (
        60, 600, 3_600, 6 * 3_600, DAY_S, 3 * DAY_S, 7 * DAY_S, 14 * DAY_S, 30 * DAY_S,
        91 * DAY_S, 182 * DAY_S, 365 * DAY_S,
    )
)  # fmt: skip
STAGE_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LATENCY_S: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The service's counters in a registry of its own.

    Args:
        is_shared: Several processes count together: in files of PROMETHEUS_MULTIPROC_DIR, which
            is set before this module is imported.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "opportune_request_seconds",
            "Time to answer a request.",
            ["route", "status"],
            buckets=LATENCY_S,
            registry=self._registry,
        )
        self._answers = Counter(
            "opportune_answers",
            "Parts of answers by model and by why they were not the model's own.",
            ["model", "fallback"],
            registry=self._registry,
        )
        self._decisions = Counter(
            "opportune_decisions",
            "Decisions by arm, by why the mail is held back and by what binds the hour.",
            ["arm", "hold", "binding"],
            registry=self._registry,
        )
        self._events = Counter(
            "opportune_events",
            "Events by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        self._refused = Counter(
            "opportune_bundles_refused",
            "Bundles that were not taken as champion.",
            ["model"],
            registry=self._registry,
        )
        self._shadow = Counter(
            "opportune_shadow_recipients",
            "Recipients scored by a shadow too, by what came of it.",
            ["model", "outcome"],
            registry=self._registry,
        )
        self._late = Counter(
            "opportune_late_answers",
            "Scoring calls answered after their deadline.",
            registry=self._registry,
        )
        self._ignored = Counter(
            "opportune_deadlines_ignored",
            "Values of X-Deadline-Ms that are no number of milliseconds.",
            registry=self._registry,
        )
        self._lost = Counter(
            "opportune_decisions_lost",
            "Decisions that could not be written to the log.",
            ["why"],
            registry=self._registry,
        )
        self._opened = Counter(
            "opportune_breaker_opened",
            "How often a dependency failed so often that it was no longer asked.",
            ["dependency"],
            registry=self._registry,
        )
        self._kept_lost = Counter(
            "opportune_kept_lost",
            "Decisions that other processes and the next start will not recall.",
            ["why"],
            registry=self._registry,
        )
        self._explored = Counter(
            "opportune_explored",
            "Decisions of which something was drawn, by what.",
            ["what"],
            registry=self._registry,
        )
        self._stages = Histogram(
            "opportune_stage_seconds",
            "Time of a scoring call in each of its stages.",
            ["stage"],
            buckets=STAGE_S,
            registry=self._registry,
        )
        self._age = Histogram(
            "opportune_feature_age_seconds",
            "Age of the newest event behind an answer, where there is one.",
            buckets=AGE_S,
            registry=self._registry,
        )
        self._seen: dict[tuple[str, ...], Histogram] = {}
        self._answered: dict[tuple[str, ...], Counter] = {}
        self._decided: dict[tuple[str, ...], Counter] = {}
        self._by_stage = {stage: self._stages.labels(stage.value) for stage in Stage}
        self._by_draw = {what: self._explored.labels(what) for what in DRAWN}
        self._begin_at_zero()
        self._now = _Now()
        self._registry.register(self._now)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a path of ours or `other`."""
        _labelled(self._latency, self._seen, (route, str(status))).observe(seconds)

    def count_prediction(self, prediction: Prediction) -> None:
        """Count an answer's parts."""
        for told in prediction.reasons.items():
            _labelled(self._answers, self._answered, told).inc()

    def count_decision(self, made: Decision) -> None:
        """Count what was decided."""
        told = made.arm, made.hold.reason.value, made.hours.binding.value
        _labelled(self._decisions, self._decided, told).inc()
        if made.hours.is_explored:
            self._by_draw["hour"].inc()
        if made.ranked.shown_first.is_explored:
            self._by_draw["item"].inc()
        if made.hold.is_explored:
            self._by_draw["hold"].inc()

    def observe_age(self, age_s: int) -> None:
        """Count an answer by the age of its newest event; below zero where there is none."""
        if age_s >= 0:
            self._age.observe(age_s)

    def observe_stages(self, laps: Laps) -> None:
        """Count a scoring call by what its stages took."""
        for stage, seconds in laps.seconds().items():
            self._by_stage[stage].observe(seconds)

    def count_event(self, outcome: str, n: int = 1) -> None:
        """Count events: accepted, duplicate or the reason of a rejection."""
        self._events.labels(outcome).inc(n)

    def count_shadow(self, model: str, outcome: str, n: int) -> None:
        """Count recipients of a shadow: compared, otherwise, lost or failed."""
        self._shadow.labels(model, outcome).inc(n)

    def count_late(self) -> None:
        """Count a scoring call that was answered after its deadline."""
        self._late.inc()

    def count_ignored_deadline(self) -> None:
        """Count a deadline that is no number."""
        self._ignored.inc()

    def count_lost(self, why: Lost, n: int) -> None:
        """Count decisions that are not in the log."""
        self._lost.labels(why.value).inc(n)

    def count_kept_lost(self, why: Lost, n: int) -> None:
        """Count decisions that are kept in this process alone."""
        self._kept_lost.labels(why.value).inc(n)

    def count_opened(self, dependency: str) -> None:
        """Count a breaker that opened."""
        self._opened.labels(dependency).inc()

    def count_refused(self, model: str, _why: str) -> None:
        """Count a bundle that was not taken."""
        self._refused.labels(model).inc()

    def page(self, champions: Champions, *, is_open: Mapping[str, bool], is_ready: bool) -> bytes:
        """The text that Prometheus reads.

        Args:
            is_open: By dependency, whether its breaker is open in this process.
            is_ready: What `/readyz` says.
        """
        self._now.champions, self._now.is_open, self._now.is_ready = champions, is_open, is_ready
        if not self._is_shared:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        together.register(self._now)
        return generate_latest(together)

    def _begin_at_zero(self) -> None:
        """What an alert looks at is there before it first happens.

        To Prometheus a counter that begins at one has not grown.
        """
        for spec in SPECS:
            self._refused.labels(spec.name)
        for why in Lost:
            self._lost.labels(why.value)
            self._kept_lost.labels(why.value)
        self._opened.labels(STORE)
        self._events.labels("accepted")


def _labelled(
    metric: _Metric, known: dict[tuple[str, ...], _Metric], told: tuple[str, ...]
) -> _Metric:
    """A metric under some labels; looking them up anew takes longer than counting."""
    found = known.get(told)
    if found is None:
        found = known[told] = metric.labels(*told)
    return found


class _Now:
    """Which versions serve and which breakers are open, told from what is: nothing to clear.

    A `Gauge` cannot forget labels where PROMETHEUS_MULTIPROC_DIR is set.
    """

    def __init__(self) -> None:
        self.champions = Champions()
        self.is_open: Mapping[str, bool] = {}
        self.is_ready = False

    def collect(self) -> Iterator[Metric]:
        """As the registry asks."""
        gauge = GaugeMetricFamily(
            "opportune_model_loaded",
            "1 for the version of a model that serves.",
            labels=["model", "version"],
        )
        for name, loaded in self.champions.by_name.items():
            gauge.add_metric([name, loaded.version], 1)
        yield gauge
        breakers = GaugeMetricFamily(
            "opportune_breaker_open",
            "1 while a dependency fails and is not asked, in the process that tells.",
            labels=["dependency"],
        )
        for name, is_open in self.is_open.items():
            breakers.add_metric([name], float(is_open))
        yield breakers
        ready = GaugeMetricFamily("opportune_ready", "1 while /readyz says so, else 0.")
        ready.add_metric([], float(self.is_ready))
        yield ready
