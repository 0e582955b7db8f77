"""Wires the service together; nothing is opened before the application starts."""

import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from fastapi import FastAPI

from model.bundle.reader import open_bundle
from service.api import errors, health, routes
from service.api.documents import document_keys
from service.api.key_check import KeyCheck
from service.api.middleware import BodyLimit, RequestContext
from service.api.one_pass import OnePass
from service.api.served import Served
from service.scoring.predictor import Predictor
from service.scoring.ranker import Ranker
from service.settings import EMBEDDED, Settings
from service.store.connection import connect
from service.store.embedded import embedded_redis
from service.store.redis_store import RedisFeatureStore
from service.telemetry import Telemetry

DESCRIPTION = "Ranks ads for a user by eCPM = bid x predicted click-through rate."

_YOUNG_OBJECTS = 20_000  # between two collections; a request with 200 candidates makes about 500


def create_app(settings: Settings) -> FastAPI:
    """The application. Its lifespan opens bundle, Redis and threads, and closes them in reverse order.

    Starting it raises BundleError when the bundle cannot be trusted. It starts while Redis does not answer, and gives
    degraded answers until it does.
    """
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Telemetry]]:
        async with _open_served(settings, telemetry) as served:
            app.state.served = served
            with _loaded_objects_kept():
                yield {"telemetry": telemetry}  # the server hands it to its connections

    # A redirect to a path without the last slash would be to wherever the Host header says.
    app = FastAPI(title="dinrank", summary=DESCRIPTION, version="1", lifespan=lifespan, redirect_slashes=False)
    app.include_router(routes.router)
    app.include_router(health.router)
    errors.install(app)
    if settings.api_keys_file is not None:
        document_keys(app)
    app.add_middleware(OnePass)  # what is added later is further out
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, timeout_ms=settings.body_timeout_ms)
    app.add_middleware(KeyCheck, settings=settings, telemetry=telemetry)
    app.add_middleware(RequestContext, telemetry=telemetry)
    return app


def create_app_from_environment() -> FastAPI:
    """What a uvicorn worker calls."""
    return create_app(Settings.read())


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """The URL of Redis: the one that was set, or that of an embedded server that runs as long as the block."""
    if settings.redis != EMBEDDED:
        yield settings.redis
        return
    with embedded_redis(settings.redis_data_dir) as url:
        yield url


@asynccontextmanager
async def _open_served(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Served]:
    bundle = open_bundle(settings.bundle)
    predictor = Predictor.load(bundle)
    telemetry.model_info.labels(bundle.manifest.model_name, bundle.manifest.model_version).set(1)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(redis_url(settings))
        connection = connect(url, timeout_ms=settings.redis_timeout_ms, max_connections=settings.redis_max_connections)
        store = RedisFeatureStore(connection, bundle.schema)
        stack.push_async_callback(store.aclose)
        executor = stack.enter_context(ThreadPoolExecutor(settings.scoring_threads, thread_name_prefix="scoring"))
        ranker = Ranker(
            bundle=bundle,
            predictor=predictor,
            store=store,
            executor=executor,
            telemetry=telemetry,
            max_candidates=settings.max_candidates,
        )
        yield Served(settings, bundle, predictor, store, ranker, telemetry)


@contextmanager
def _loaded_objects_kept() -> Iterator[None]:
    """Spare garbage collections from looking through what was loaded, a pause of up to 0.1 s amid requests, and collect
    after tens of requests instead of each: requests leave hardly any cycles behind."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
