"""Start-up message of `serve`: the address, a request to try, and a warning if Redis has no users."""

import asyncio
import json
import logging
import shlex

import typer

from dinrank.model.bundle.reader import Bundle
from dinrank.service.commands.remedies import remedy_for
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.settings import Settings
from dinrank.service.store.connection import connect
from dinrank.service.store.layout import MalformedElement, user_id_of
from dinrank.service.store.url import EMBEDDED, parse_redis_url
from dinrank.service.store.user_data import stored_users
from dinrank.service.telemetry.logs import log_event

_NUM_CANDIDATES = 2

_NOBODY = "1"  # an unknown id is ranked as a new user

_LOOK_TIMEOUT_MS = 1_000

_LONGEST_LOOK_S = 1.0


def announce(settings: Settings, address: str, bundle: Bundle, redis: str) -> None:
    """Announce the service: as text with a request to try, or as a JSON log line.

    Also warns if Redis does not answer, which does not prevent the start.

    Args:
        redis: the URL.
    """
    user_id, failure = _look(redis)
    name, version = bundle.manifest.model_name, bundle.manifest.model_version
    if settings.log_format == "json":
        log_event(logging.INFO, "serving", address=address, model=name, version=version, workers=settings.workers)
    else:
        typer.echo(f"{name} {version} answers on {address}, try:\n")
        needs_key = settings.api_keys_file is not None
        typer.echo(f"  {curl_command(address, bundle, user_id=user_id or _NOBODY, needs_key=needs_key)}\n")
    if failure is not None:
        _warn(settings, f"{parse_redis_url(redis).place()}: {failure}", remedy_for(failure))
    elif user_id is None:
        _warn(settings, "no user has behaviours in Redis", _how_to_publish(settings))


def curl_command(address: str, bundle: Bundle, *, user_id: str, needs_key: bool) -> str:
    """Return a request that this bundle can answer: the context and first candidates of a golden request.

    The key is a shell variable.
    """
    golden = bundle.golden[0].request
    candidates = [{"ad_id": str(ad_id), "bid": 1.0} for ad_id in golden.candidates[:_NUM_CANDIDATES]]
    context = {"context": dict(golden.context)} if golden.context else {}
    body = {"user_id": user_id, **context, "candidates": candidates}
    json_type = "Content-Type: application/json"
    key = '-H "X-API-Key: $DINRANK_API_KEY" ' if needs_key else ""
    return f"curl -s {address}/rank {key}{shlex.join(['-H', json_type, '-d', json.dumps(body)])}"


def _how_to_publish(settings: Settings) -> str:
    if settings.redis == EMBEDDED:  # only one command at a time can use it
        return "stop this, load a dataset's with `python -m service publish`, and start it again"
    return "`python -m service publish` loads a dataset's"


def _look(redis: str) -> tuple[str | None, FeatureStoreUnavailable | None]:
    """Return a user with behaviours, or None if there is none; and the failure if Redis does not answer."""
    try:
        return asyncio.run(_somebody(redis)), None
    except FeatureStoreUnavailable as exc:
        return None, exc


async def _somebody(redis: str) -> str | None:
    connection = connect(redis, timeout_ms=_LOOK_TIMEOUT_MS, max_connections=1)
    try:
        await connection.ping()
        try:
            users = await stored_users(connection, most=1, longest_s=_LONGEST_LOOK_S)
        except FeatureStoreUnavailable as exc:
            if exc.kind is not StoreFailure.REFUSED:
                raise
            return _NOBODY  # the service itself does not need permission to list keys
    finally:
        await connection.aclose()
    if not users.keys:
        return None if users.is_complete else _NOBODY
    try:
        return user_id_of(next(iter(users.keys)))
    except MalformedElement:
        return _NOBODY


def _warn(settings: Settings, what: str, advice: str) -> None:
    consequence = "until that changes all users are ranked as new ones"
    if settings.log_format == "json":
        log_event(logging.WARNING, "without_users", reason=what, consequence=consequence)
    else:
        typer.echo(f"warning: {what}; {consequence}{f': {advice}' if advice else ''}", err=True)
