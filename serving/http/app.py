"""Builds the service and joins its parts; nothing happens before `create_app` is called."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from features.errors import StateUnreadableError, StoreUnavailableError
from features.events.esp.adapter import Credentials
from features.events.log import EventLog
from features.events.quarantine import Quarantine
from features.events.suppressed import Suppressed
from features.online import open_reader, open_store
from features.stream import Stream
from features.witness import Witness, witness
from models.registry import ModelFolder
from serving.audited import followed, note_configuration
from serving.chooser import Chooser
from serving.clock import Clock, system_clock
from serving.decider import Decider
from serving.decision_log import DecisionLog
from serving.folding import Folding
from serving.follower import Follower
from serving.guard import STORE, GuardedStore
from serving.http.access import Access, route_class
from serving.http.batches import batch_router
from serving.http.document import describe
from serving.http.drain import Drain
from serving.http.envelope import Envelope
from serving.http.inspect import inspect_router
from serving.http.limits import Limits
from serving.http.metrics import Metrics
from serving.http.pages import Pages, is_page, pages_router
from serving.http.parts import Parts
from serving.http.patience import Patience
from serving.http.privacy import privacy_router
from serving.http.problems import ProblemError, response_of
from serving.http.rehearsal import Rehearsal, open_stores
from serving.http.render import render_router
from serving.http.routes import router_of
from serving.http.together import Together
from serving.http.traces import both, tracing_of
from serving.http.webhooks import webhook_router
from serving.kept import Keeper
from serving.keyring import KeyRing
from serving.keys import KeyFile
from serving.loader import LOG, Loader
from serving.policy import policy_of
from serving.settings import ServingSettings
from serving.shadow import Shadow
from serving.trials import Trials
from serving.webhooks import Certificates, Webhooks

if TYPE_CHECKING:
    from serving.http.tracing import Tracing


def create_app(
    settings: ServingSettings, *, clock: Clock = system_clock, is_worker: bool = False
) -> FastAPI:
    """The service as an ASGI application; its lifespan opens and closes what it holds.

    Args:
        is_worker: It is one of several processes, whose metrics are told together.
    """
    metrics = Metrics(is_shared=is_worker)
    loader = _loader(settings, metrics, clock)
    log = EventLog(settings.events_dir)
    store = open_store(settings.online_address)
    reader = open_reader(settings.online_address)
    folding = Folding(Stream(log, store), address=settings.online_address)
    states = GuardedStore(reader, opened=lambda: metrics.count_opened(STORE))
    decisions, keeper = _writers(settings, metrics)
    tracing = tracing_of(settings)
    drain = Drain(settings.drain_s)
    decider = Decider(states, loader)
    told_of = witness(settings.audit_dir, settings.events_dir, actor="service")
    share, salt = settings.shadow_share, settings.holdout_salt
    shadow = Shadow(decider, loader, metrics, share=share, salt=salt)
    parts = Parts(
        decider=decider,
        loader=loader,
        log=log,
        folding=folding,
        metrics=metrics,
        clock=clock,
        timed=metrics.observe_stages if tracing is None else both(metrics, tracing),
        chooser=Chooser(policy_of(settings), keeper),
        patience=Patience(settings.deadline_ms / 1_000, metrics),
        store=states,
        decisions=decisions,
        drain=drain,
        shadow=shadow,
        witness=told_of,
    )

    beside = [one for one in (decisions, keeper, shadow, tracing) if one is not None]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _catch_up(folding)
        note_configuration(settings, at=clock())
        loader.start(every_s=settings.poll_s)
        open_stores(parts.decider, parts.chooser, now=clock())
        await run_in_threadpool(open_stores, parts.decider, parts.chooser, now=clock())
        # What is there by now stays: without this the collector walks through it again and again,
        # a quarter of the time that taking events in costs.
        for one in beside:
            one.start()
        gc.collect()
        gc.freeze()
        with drain.on_sigterm():
            yield
        gc.unfreeze()
        for one in beside:
            one.stop()
        folding.stop()
        loader.stop()
        log.close()
        states.close()
        reader.close()
        store.close()

    app = FastAPI(
        title="Opportune",
        summary="When to send an e-mail, whether to hold back and what to put in it.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # to whatever host the caller names
        # FastAPI's own traces hold paths and queries, and its environment alone can turn them on.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    access = Access(
        KeyRing(KeyFile(settings.keys_file)),
        is_metrics_open=settings.metrics_open,
        link_secret=settings.render_secret.get_secret_value() if settings.render_secret else "",
    )
    guarded = route_class(access)
    together = Together(parts)
    webhooks = _webhooks(settings, log, told_of)
    routers = (
        router_of(parts, together, guarded),
        batch_router(parts, guarded),
        render_router(parts, together, guarded),
        privacy_router(parts, settings, store, keeper, guarded),
        inspect_router(parts, settings.erasures_dir, guarded),
        pages_router(parts, pages := Pages(), guarded),
        webhook_router(webhooks, folding, metrics, clock, guarded, parts.intakes),
    )
    # The routes themselves, not by `include_router`: each call would be matched by its router, and
    # then once more. The first are asked for most, so they come before those of the document.
    app.router.routes[:0] = [route for router in routers for route in router.routes]
    _answer_mistakes(app, pages)
    describe(app, access)
    _wrap(app, parts, tracing, settings)
    return app


def _catch_up(folding: Folding) -> None:
    try:
        folding.catch_up()
    except (StoreUnavailableError, StateUnreadableError) as error:
        LOG.warning("%s; answering with what is online", error)


def _wrap(app: FastAPI, parts: Parts, tracing: "Tracing | None", settings: ServingSettings) -> None:
    """The last one added is the outermost."""
    app.add_middleware(
        Limits,
        max_bytes=settings.max_body_bytes,
        max_stream_bytes=settings.max_stream_bytes,
        metrics=parts.metrics,
    )
    if tracing is not None:
        tracing.around(app)
    app.add_middleware(Envelope, drain=parts.drain)


def _loader(settings: ServingSettings, metrics: Metrics, clock: Clock) -> Loader:
    folder, trials = ModelFolder(settings.models_dir), Trials(settings.models_dir)
    url = settings.mlflow_url
    return Loader(
        folder,
        follow=Follower(url, folder, verify=trials, note=followed(settings, clock))
        if url
        else lambda: None,
        refused=metrics.count_refused,
        trials=trials,
        rehearse=Rehearsal(policy_of(settings), clock),
    )


def _writers(
    settings: ServingSettings, metrics: Metrics
) -> tuple[DecisionLog | None, Keeper | None]:
    decisions = keeper = None
    if settings.decision_log:
        suppressed = Suppressed(settings.events_dir)
        decisions = DecisionLog(
            settings.decisions_dir, lost=metrics.count_lost, suppressed=suppressed.among
        )
    if settings.sticky_days:
        keeper = Keeper(
            settings.kept_address, days=settings.sticky_days, lost=metrics.count_kept_lost
        )
    return decisions, keeper


def _webhooks(settings: ServingSettings, log: EventLog, told_of: Witness) -> Webhooks:
    """Credentials by provider; SES is proven by its topics and Amazon's certificates."""
    certificates = Certificates()
    named = {
        provider: Credentials(
            secrets=tuple(secret.get_secret_value() for secret in secrets),
            is_channel_trusted=provider == "segment" and settings.segment_channel_trusted,
        )
        for provider, secrets in settings.webhook_secrets.items()
    }
    if settings.sns_topics:
        named["ses"] = Credentials(topics=frozenset(settings.sns_topics), certificate=certificates)
    secret = settings.key_secret.get_secret_value() if settings.key_secret else ""
    quarantine = Quarantine(settings.events_dir)
    return Webhooks(log, quarantine, named, key_secret=secret, witness=told_of)


def _answer_mistakes(app: FastAPI, pages: Pages) -> None:
    """Every mistake ends as problem+json, or as a page, and leaves the connection usable."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return pages.problem(error) if is_page(request) else response_of(error)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        detail = "see /openapi.json for what there is"
        return response_of(ProblemError(status, detail, headers=error.headers))
