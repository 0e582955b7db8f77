"""From settings to the models that serve: each loaded, checked, and kept in step with its path."""

import logging
from dataclasses import dataclass

from model.bundle.schema import FeatureSchema, Group
from service.api.line_up import LineUp, Place
from service.api.live import Live
from service.api.served import Served
from service.loading import BundleLoader, LoadedBundle
from service.reloading import Reloader
from service.role import Role
from service.scoring.measures import Counted, Measures, Uncounted
from service.scoring.ranker import Ranker
from service.scoring.run_limit import RunLimit
from service.scoring.shadow import Shadow
from service.scoring.threads import ScoringThreads
from service.settings import Settings
from service.store.breaker import Breaker
from service.store.breaker_store import BreakerStore
from service.store.connection import RedisConnection
from service.store.protocol import FeatureStore
from service.store.redis_store import RedisFeatureStore
from service.telemetry import Telemetry, log_event
from service.worker import Slot, first_bundle, remember_good_bundle


@dataclass(frozen=True, slots=True)
class Shared:
    """What every bundle is served with."""

    settings: Settings
    connection: RedisConnection
    breaker: Breaker
    live: Live
    threads: ScoringThreads
    run_limit: RunLimit
    loader: BundleLoader
    telemetry: Telemetry


def open_line_up(shared: Shared) -> LineUp:
    """Load the champion and its challengers.

    Raises:
        BundleError: one of them cannot be trusted, and no other was good before at its path.
    """
    settings = shared.settings
    share_left = 1.0 - sum(challenger.share or 0.0 for challenger in settings.challengers)
    places = [_place(Slot(settings.bundle, 0), Role.CHAMPION, share_left, shared)]
    for number, challenger in enumerate(settings.challengers, start=1):
        role = Role.SHADOW if challenger.share is None else Role.CHALLENGER
        places.append(_place(Slot(challenger.bundle, number), role, challenger.share or 0.0, shared))
    _tell_what_challengers_lack(places)
    return LineUp(places, salt=settings.split_salt, run_limit=shared.run_limit)


def _place(slot: Slot, role: Role, share: float, shared: Shared) -> Place:
    """Nothing but the place keeps the bundle in it, so that a reload lets the old one go."""

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
    model = place.served.model_name()
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
                model=place.served.model_name().version,
                role=place.role,
                lacks=", ".join(lacking),
                result="requests that send them are answered 400 by this model",
            )


def lacking_features(champion: FeatureSchema, challenger: FeatureSchema) -> list[str]:
    """What callers may send to the champion and not to the challenger: context, and attributes of candidates."""
    return sorted(_request_features(champion) - _request_features(challenger))


def _request_features(schema: FeatureSchema) -> set[str]:
    return {feature.name for group in (Group.CONTEXT, Group.ITEM) for feature in schema.group(group)}
