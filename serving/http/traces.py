"""Traces where they are asked for; what makes them is an extra (`serving.http.tracing`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.errors import TracingMissingError
from serving.http.metrics import Metrics
from serving.settings import ServingSettings
from serving.stages import Laps

if TYPE_CHECKING:
    from serving.http.tracing import Tracing


def tracing_of(settings: ServingSettings) -> "Tracing | None":
    """What makes traces, where they are asked for.

    Raises:
        TracingMissingError: They cannot be made here.
    """
    if not settings.traces:
        return None
    try:
        from serving.http.tracing import Tracing  # noqa: PLC0415  few want it, and it is an extra
    except ModuleNotFoundError as error:
        raise TracingMissingError(str(error.name)) from error
    return Tracing(settings.trace_share)


def both(metrics: Metrics, tracing: "Tracing") -> Callable[[Laps], None]:
    """Told how long stages took, tells metrics and traces."""

    def timed(laps: Laps) -> None:
        metrics.observe_stages(laps)
        tracing.stages(laps)

    return timed
