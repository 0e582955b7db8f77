"""Application factory: wires the service together. Nothing is opened before the application starts."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline

from dinrank.service.access.admin_token import token_digest_from_environment
from dinrank.service.api import behaviours, health, models, playground, problems, rank, users
from dinrank.service.api.admission import AdmissionControl
from dinrank.service.api.body import BodyLimit
from dinrank.service.api.context import RequestContext
from dinrank.service.api.key_check import KeyCheck
from dinrank.service.api.openapi import document_keys, install_page
from dinrank.service.api.paths import DOCS_PARTS_PREFIX, DOCS_PATH
from dinrank.service.api.rank import OnePass
from dinrank.service.lineup.loading import own_loader
from dinrank.service.lineup.memory import gc_frozen
from dinrank.service.lineup.opening import Shared, open_breaker, open_line_up
from dinrank.service.process.signals import ending_with_supervisor, on_hangup, signal_reload
from dinrank.service.process.watchdog import watched
from dinrank.service.scoring.admission import PLACES_BESIDE_SCORING, Admission
from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.scoring.threads import ScoringThreads
from dinrank.service.settings import Settings
from dinrank.service.store.connection import connect
from dinrank.service.store.embedded import redis_url
from dinrank.service.store.live import open_live
from dinrank.service.telemetry.metrics import EventOutcome, Telemetry, declare
from dinrank.service.telemetry.tracing import open_tracing

DESCRIPTION = "Ranks ads for a user by eCPM = bid x predicted click-through rate."

# FastAPI's own spans and logs would send paths and refused values, and with them user ids, to the collector in
# OpenTelemetry's variables. See decision 16.
_NOTHING_OF_FASTAPI: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(settings: Settings, *, is_own_process: bool = False, admin_token: bytes | None = None) -> FastAPI:
    """Create the application. Its lifespan opens bundle, Redis and threads, and closes them in reverse order.

    Starting it raises BundleError if the bundle fails verification. It starts even if Redis does not answer, and gives
    degraded answers until it does.

    Args:
        is_own_process: True in a worker process, which reloads on SIGHUP and ends with its supervisor.
        admin_token: digest of the token for admin routes if no file of admin keys is set; without either they are
            closed.
    """
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Telemetry]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telemetry.tally.counted_regularly())
            shared = await stack.enter_async_context(_shared(settings, telemetry))
            app.state.live = shared.live
            app.state.line_up = line_up = open_line_up(shared, signal_reload)
            stack.push_async_callback(line_up.aclose)
            if is_own_process:
                stack.enter_context(on_hangup(line_up.ask_for_reload))
                stack.enter_context(ending_with_supervisor())
                stack.enter_context(watched(shared.run_limit, stuck_after_ms=settings.stuck_after_ms))
            for place in line_up.places:
                await stack.enter_async_context(place.reloader.watching(poll_ms=settings.bundle_poll_ms))
            stack.enter_context(_traced(app, settings, telemetry))
            stack.enter_context(gc_frozen())
            yield {"telemetry": telemetry}  # the server passes it to its connections

    # Not FastAPI itself: its pages run scripts from another host, which could call everything here.
    app = FastAPIOffline(
        title="dinrank",
        summary=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would go to the host in the Host header
        telemetry=_NOTHING_OF_FASTAPI,
        docs_url=None,
        redoc_url=None,
        static_url=DOCS_PARTS_PREFIX.rstrip("/"),
    )
    app.include_router(rank.router)
    app.include_router(models.router)
    app.include_router(health.router)
    app.include_router(behaviours.router)
    app.include_router(users.router)
    if settings.playground:
        playground.install(app)
    problems.install(app)
    document_keys(app, settings)
    install_page(app, DOCS_PATH)
    app.add_middleware(OnePass)  # middleware added later is further out
    app.add_middleware(AdmissionControl, admission=_admission(settings), telemetry=telemetry)
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_ms=settings.body_timeout_ms)
    app.add_middleware(KeyCheck, settings=settings, telemetry=telemetry, admin_token=admin_token)
    app.add_middleware(RequestContext, telemetry=telemetry)
    if settings.trace_endpoint:
        # Imported here, as it needs OpenTelemetry's SDK.
        from dinrank.service.api.request_span import RequestSpan

        app.add_middleware(RequestSpan)
    return app


def create_app_from_environment() -> FastAPI:
    """Create the application in a uvicorn worker."""
    logging.captureWarnings(True)
    return create_app(Settings.read(), is_own_process=True, admin_token=token_digest_from_environment())


def _admission(settings: Settings) -> Admission:
    return Admission(
        num_places=settings.scoring_threads + PLACES_BESIDE_SCORING,
        max_waiting=settings.max_waiting,
        max_wait_s=settings.max_wait_ms / 1_000,
    )


@asynccontextmanager
async def _shared(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Shared]:
    """Open the resources that outlive a bundle: the connections to Redis and the threads."""
    declare(telemetry.behaviour_events, EventOutcome)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(redis_url(settings.redis, settings.redis_data_dir))
        connection = connect(url, timeout_ms=settings.redis_timeout_ms, max_connections=settings.redis_max_connections)
        stack.push_async_callback(connection.aclose)
        live = await stack.enter_async_context(
            open_live(url, timeout_ms=settings.redis_timeout_ms, max_stored=settings.max_stored_behaviours)
        )
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
