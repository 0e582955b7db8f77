"""Opening of the line-up from the settings: load and check each model, and follow its path."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.service.lineup.line_up import LineUp, Place, Served
from dinrank.service.lineup.loading import BundleLoader, LoadedBundle, Slot, first_bundle, remember_good_bundle
from dinrank.service.lineup.reloading import Reloader
from dinrank.service.lineup.split import Role
from dinrank.service.scoring.measures import Counted, Measures, Uncounted
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.scoring.shadow import Shadow
from dinrank.service.scoring.threads import ScoringThreads
from dinrank.service.settings import Settings
from dinrank.service.store.breaker import Breaker
from dinrank.service.store.breaker_store import BreakerStore
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.live import Live
from dinrank.service.store.protocol import FeatureStore
from dinrank.service.store.redis_store import RedisFeatureStore
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Telemetry


@dataclass(frozen=True, slots=True)
class Shared:
    """Resources shared by all served bundles."""

    settings: Settings
    connection: RedisConnection
    breaker: Breaker
    live: Live
    threads: ScoringThreads
    run_limit: RunLimit
    loader: BundleLoader
    telemetry: Telemetry


def open_line_up(shared: Shared, signal_reload: Callable[[], None]) -> LineUp:
    """Load the champion and its challengers.

    Raises:
        BundleError: one of them failed verification, and its path has no known-good predecessor.
    """
    settings = shared.settings
    share_left = 1.0 - sum(challenger.share or 0.0 for challenger in settings.challengers)
    places = [_place(Slot(settings.bundle, 0), Role.CHAMPION, share_left, shared)]
    for number, challenger in enumerate(settings.challengers, start=1):
        role = Role.SHADOW if challenger.share is None else Role.CHALLENGER
        places.append(_place(Slot(challenger.bundle, number), role, challenger.share or 0.0, shared))
    _tell_what_challengers_lack(places)
    return LineUp(places, salt=settings.split_salt, run_limit=shared.run_limit, signal_reload=signal_reload)


def _place(slot: Slot, role: Role, share: float, shared: Shared) -> Place:
    """Load the bundle of a slot into a place. Only the place refers to it, so that a reload frees the old one."""

    def swap(loaded: LoadedBundle) -> None:
        place.served = _served(loaded, role, shared)
        _tell_telemetry(slot, place, shared.telemetry)

    loaded = first_bundle(slot, shared.loader)
    reloader = Reloader(slot, shared.loader, serves=loaded, swap=swap, telemetry=shared.telemetry)
    place = Place(role, share, _served(loaded, role, shared), reloader)
    _tell_telemetry(slot, place, shared.telemetry)
    remember_good_bundle(slot, shared.loader, loaded.key)
    return place


def _tell_telemetry(slot: Slot, place: Place, telemetry: Telemetry) -> None:
    model = place.served
    telemetry.serves(slot.number, model.name, model.version, place.role)


def _served(loaded: LoadedBundle, role: Role, shared: Shared) -> Served:
    version = loaded.bundle.manifest.model_version
    store = BreakerStore(RedisFeatureStore(shared.connection, loaded.bundle.schema), shared.breaker)
    shadow = None
    if role is Role.SHADOW:
        shadow = Shadow(_ranker(loaded, store, Uncounted(), shared), shared.telemetry, version=version)
    ranker = _ranker(loaded, store, Counted(shared.telemetry, version=version, schema=loaded.bundle.schema), shared)
    return Served(shared.settings, loaded.bundle, loaded.predictor, store, ranker, shared.telemetry, shadow)


def _ranker(loaded: LoadedBundle, store: FeatureStore, measures: Measures, shared: Shared) -> Ranker:
    return Ranker(
        bundle=loaded.bundle,
        predictor=loaded.predictor,
        store=store,
        threads=shared.threads,
        measures=measures,
        max_candidates=shared.settings.max_candidates,
        max_explained_pairs=shared.settings.max_explained_pairs,
        refuses_without_store=shared.settings.redis_failure == "refuse",
    )


def _tell_what_challengers_lack(places: list[Place]) -> None:
    champion, *challengers = places
    for place in challengers:
        if lacking := lacking_features(champion.served.bundle.schema, place.served.bundle.schema):
            log_event(
                logging.WARNING,
                "challenger_lacks_features",
                model=place.served.version,
                role=place.role,
                lacks=", ".join(lacking),
                result="requests that send them are answered 400 by this model",
            )


def lacking_features(champion: FeatureSchema, challenger: FeatureSchema) -> list[str]:
    """List the request features, context and item attributes, that the champion has and the challenger lacks."""
    return sorted(_request_features(champion) - _request_features(challenger))


def _request_features(schema: FeatureSchema) -> set[str]:
    return {feature.name for group in (Group.CONTEXT, Group.ITEM) for feature in schema.group(group)}


_ONLY_PART = "redis"


def open_breaker(settings: Settings, telemetry: Telemetry) -> Breaker:
    """Create a circuit breaker that sets its gauge and logs a line whenever it opens or closes.

    With a cluster the lines name the node.
    """
    open_parts: set[str] = set()
    telemetry.breaker_open.set(0)

    def announce(part: str, is_open: bool, reason: str) -> None:
        if is_open:
            open_parts.add(part)
            log_event(logging.ERROR, "breaker_opened", store=part or _ONLY_PART, error=reason)
        else:
            open_parts.discard(part)
            log_event(logging.WARNING, "breaker_closed", store=part or _ONLY_PART, reason=reason)
        telemetry.breaker_open.set(bool(open_parts))

    return Breaker(
        failures=settings.breaker_failures,
        open_s=settings.breaker_open_ms / 1_000,
        timeout_s=settings.redis_timeout_ms / 1_000,
        announce=announce,
    )
