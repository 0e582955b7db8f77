"""Wires the service together; nothing is opened before the application starts."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline

from service.admin_token import token_digest_from_environment
from service.api import admin, behaviours, errors, health, playground, routes, users
from service.api.admission import AdmissionControl
from service.api.documents import document_keys, install_page
from service.api.key_check import KeyCheck
from service.api.live import open_live
from service.api.middleware import BodyLimit, RequestContext
from service.api.one_pass import OnePass
from service.api.paths import DOCS_PARTS_PREFIX, DOCS_PATH
from service.loading import own_loader
from service.memory import loaded_objects_kept
from service.models import Shared, open_line_up
from service.outages import open_breaker
from service.scoring.admission import PLACES_BESIDE_SCORING, Admission
from service.scoring.run_limit import RunLimit
from service.scoring.threads import ScoringThreads
from service.settings import EMBEDDED, Settings
from service.store.connection import connect
from service.store.embedded import embedded_redis
from service.telemetry import EventOutcome, Telemetry, declare
from service.tracing import open_tracing
from service.watchdog import watched
from service.worker import ending_with_supervisor, on_hangup

DESCRIPTION = "Ranks ads for a user by eCPM = bid x predicted click-through rate."

# FastAPI's own spans and logs would carry paths and refused values, so ids of users, to wherever OpenTelemetry's
# variables lead. See decision 16.
_NOTHING_OF_FASTAPI: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(settings: Settings, *, is_own_process: bool = False, admin_token: bytes | None = None) -> FastAPI:
    """The application. Its lifespan opens bundle, Redis and threads, and closes them in reverse order.

    Starting it raises BundleError when the bundle cannot be trusted. It starts while Redis does not answer, and gives
    degraded answers until it does.

    Args:
        is_own_process: whether this process is a worker, which looks for another bundle at SIGHUP and ends when the
            process that supervises it has ended.
        admin_token: digest of what admin routes take where no file of admin keys is set; without either they take
            nothing.
    """
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Telemetry]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telemetry.tally.counted_regularly())
            shared = await stack.enter_async_context(_shared(settings, telemetry))
            app.state.live = shared.live
            app.state.line_up = line_up = open_line_up(shared)
            stack.push_async_callback(line_up.aclose)
            if is_own_process:
                stack.enter_context(on_hangup(line_up.ask_for_reload))
                stack.enter_context(ending_with_supervisor())
                stack.enter_context(watched(shared.run_limit, stuck_after_ms=settings.stuck_after_ms))
            for place in line_up.places:
                await stack.enter_async_context(place.reloader.watching(poll_ms=settings.bundle_poll_ms))
            stack.enter_context(_traced(app, settings, telemetry))
            stack.enter_context(loaded_objects_kept())
            yield {"telemetry": telemetry}  # the server hands it to its connections

    # Not FastAPI itself: its pages run scripts of another host, and may call everything here.
    app = FastAPIOffline(
        title="dinrank",
        summary=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be to wherever the Host header says
        telemetry=_NOTHING_OF_FASTAPI,
        docs_url=None,
        redoc_url=None,
        static_url=DOCS_PARTS_PREFIX.rstrip("/"),
    )
    app.include_router(routes.router)
    app.include_router(health.router)
    app.include_router(admin.router)
    app.include_router(behaviours.router)
    app.include_router(users.router)
    if settings.playground:
        playground.install(app)
    errors.install(app)
    document_keys(app, settings)
    install_page(app, DOCS_PATH)
    app.add_middleware(OnePass)  # what is added later is further out
    app.add_middleware(AdmissionControl, admission=_admission(settings), telemetry=telemetry)
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_ms=settings.body_timeout_ms)
    app.add_middleware(KeyCheck, settings=settings, telemetry=telemetry, admin_token=admin_token)
    app.add_middleware(RequestContext, telemetry=telemetry)
    if settings.trace_endpoint:
        # Here, as it brings OpenTelemetry's SDK with it.
        from service.api.request_span import RequestSpan

        app.add_middleware(RequestSpan)
    return app


def create_app_from_environment() -> FastAPI:
    """What a uvicorn worker calls."""
    logging.captureWarnings(True)
    return create_app(Settings.read(), is_own_process=True, admin_token=token_digest_from_environment())


def _admission(settings: Settings) -> Admission:
    return Admission(
        num_places=settings.scoring_threads + PLACES_BESIDE_SCORING,
        max_waiting=settings.max_waiting,
        max_wait_s=settings.max_wait_ms / 1_000,
    )


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """The URL of Redis: the one that was set, or that of an embedded server that runs as long as the block."""
    if settings.redis != EMBEDDED:
        yield settings.redis
        return
    with embedded_redis(settings.redis_data_dir) as url:
        yield url


@asynccontextmanager
async def _shared(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Shared]:
    """What stays when the bundle changes: the connections to Redis and the threads."""
    declare(telemetry.behaviour_events, EventOutcome)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(redis_url(settings))
        connection = connect(url, timeout_ms=settings.redis_timeout_ms, max_connections=settings.redis_max_connections)
        stack.push_async_callback(connection.aclose)
        live = await stack.enter_async_context(open_live(url, settings))
        threads = stack.enter_context(ScoringThreads(settings.scoring_threads))
        run_limit = stack.enter_context(RunLimit(settings.scoring_timeout_ms))
        loader = stack.enter_context(own_loader(settings, run_limit=run_limit))
        breaker = open_breaker(settings, telemetry)
        yield Shared(settings, connection, breaker, live, threads, run_limit, loader, telemetry)


@contextmanager
def _traced(app: FastAPI, settings: Settings, telemetry: Telemetry) -> Iterator[None]:
    if not settings.trace_endpoint:
        yield
        return
    with open_tracing(settings.trace_endpoint) as tracing:
        app.state.tracing = tracing
        telemetry.trace_stages(tracing)
        yield
