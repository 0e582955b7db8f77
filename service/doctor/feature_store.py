"""Checks of Redis: latency, version, memory, persistence, clock, and stored users against the bundle."""

import asyncio
import re
import time
from collections.abc import Sequence

import numpy as np

from dinrank.model.bundle.catalogue import UNKNOWN_ROW
from dinrank.model.bundle.reader import Bundle
from dinrank.service.commands.remedies import remedy_for
from dinrank.service.doctor.report import Finding, ok, warning, wrong
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.settings import Settings
from dinrank.service.store.connection import RedisConnection, connect
from dinrank.service.store.embedded import redis_url, url_of_owner
from dinrank.service.store.errors import DataDirectoryInUse, StoreSetupError
from dinrank.service.store.inspection import Server, StoredSample, look_at_servers, round_trips_ms, sample_users
from dinrank.service.store.scripts import LEAST_CLOCK, UNITS_APART
from dinrank.service.store.url import EMBEDDED, parse_redis_url

CHECK = "redis"
OLDEST_VERSION = (6, 2)
LEAST_KNOWN_SHARE = 0.9  # of sampled behaviours' items; below, some of the data probably belong to another bundle
CLOCK_TOLERANCE_S = 5.0
FULL_SHARE = 0.9
_PINGS = 20
_PATIENCE_MS = 3_000  # a Redis that is too slow for the service is still measured
_LAST_SECOND = 4e9  # 2096: timestamps in seconds since 1970 are between LEAST_CLOCK, 1973, and this


def check_feature_store(settings: Settings, bundle: Bundle | None) -> list[Finding]:
    """Check Redis. The embedded one is started for the check if it has data and is not running.

    Args:
        bundle: to compare the stored items with; None if it could not be opened.
    """
    if settings.redis == EMBEDDED and not settings.redis_data_dir.is_dir():
        return [
            warning(
                CHECK,
                f"the embedded Redis has no data yet: {settings.redis_data_dir} is not there",
                "python -m service publish --redis embedded",
            )
        ]
    try:
        with redis_url(settings.redis, settings.redis_data_dir) as url:
            return _examine(url, settings, bundle)
    except DataDirectoryInUse:
        return _of_owner(settings, bundle)
    except StoreSetupError as exc:
        return [wrong(CHECK, str(exc))]


def _of_owner(settings: Settings, bundle: Bundle | None) -> list[Finding]:
    url = url_of_owner(settings.redis_data_dir)
    if url is None:
        return [warning(CHECK, f"the embedded Redis on {settings.redis_data_dir} is just starting", "check again")]
    running = ok(CHECK, "the embedded Redis runs already for another command or a service; checking that one")
    return [running, *_examine(url, settings, bundle)]


def _examine(url: str, settings: Settings, bundle: Bundle | None) -> list[Finding]:
    where = parse_redis_url(url).place()
    try:
        return asyncio.run(_look(url, where, settings, bundle))
    except FeatureStoreUnavailable as exc:
        return [wrong(CHECK, f"{where}: {exc}", remedy_for(exc))]


async def _look(url: str, where: str, settings: Settings, bundle: Bundle | None) -> list[Finding]:
    connection = connect(url, timeout_ms=max(_PATIENCE_MS, settings.redis_timeout_ms), max_connections=1)
    try:
        took_ms = await round_trips_ms(connection, count=_PINGS)
        findings = [latency_finding(where, took_ms, settings.redis_timeout_ms)]
        for server in await look_at_servers(connection):
            findings += server_findings(server)
        findings += await _look_at_users(connection, bundle)
    finally:
        await connection.aclose()
    return findings


async def _look_at_users(connection: RedisConnection, bundle: Bundle | None) -> list[Finding]:
    try:
        sample = await sample_users(connection, None if bundle is None else bundle.schema)
    except FeatureStoreUnavailable as exc:
        if exc.kind is StoreFailure.REFUSED:
            return [_may_not("list users", "+scan and +lrange")]
        raise
    return sample_findings(sample, bundle, now_s=time.time())


def latency_finding(where: str, took_ms: Sequence[float], timeout_ms: int) -> Finding:
    """Compare the round-trip time with the service's timeout."""
    usual, slowest = float(np.median(took_ms)), max(took_ms)
    message = (
        f"{where} answers in {usual:.2f} ms, at worst {slowest:.2f} of {len(took_ms)}; the service waits {timeout_ms}"
    )
    if usual > timeout_ms:
        return wrong(
            CHECK, f"{message}: every answer would be degraded", "bring Redis nearer, or raise DINRANK_REDIS_TIMEOUT_MS"
        )
    if slowest > timeout_ms / 2:
        return warning(
            CHECK,
            f"{message}: under load some answers will be degraded",
            "bring Redis nearer, or raise DINRANK_REDIS_TIMEOUT_MS",
        )
    return ok(CHECK, message)


def server_findings(server: Server) -> list[Finding]:
    """Check the state that one server reports."""
    name = f"server {server.address}: " if server.address else ""
    findings = []
    if server.refusals:
        rights = "+info, +config|get and +time"
        findings.append(_may_not(f"ask for {', '.join(server.refusals)}", rights))
    if server.info:
        findings += [_version(name, server), *_memory(name, server), _persistence(name, server)]
    if server.clock_ahead_s is not None:
        findings.append(_clock(name, server.clock_ahead_s))
    return findings


def _may_not(what: str, rights: str) -> Finding:
    return warning(
        CHECK,
        f"this login may not {what}, so that part was not checked",
        f"check again with --redis and a login that has {rights}; the service itself needs none of them",
    )


def _version(name: str, server: Server) -> Finding:
    version = str(server.info.get("redis_version", "of an unknown version"))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    message = f"{name}Redis {version}"
    if numbers and numbers < OLDEST_VERSION:
        return wrong(CHECK, f"{message} is too old", f"use {'.'.join(map(str, OLDEST_VERSION))} or newer")
    return ok(CHECK, message)


def _memory(name: str, server: Server) -> list[Finding]:
    policy = str(server.info.get("maxmemory_policy", "noeviction"))
    used, most = int(server.info.get("used_memory", 0)), int(server.info.get("maxmemory", 0))
    remedy = "set maxmemory-policy noeviction, and maxmemory well above what all users need"
    if policy.startswith("allkeys") and most:
        message = f"{name}maxmemory-policy is {policy}: when memory is full Redis silently forgets users and new ads"
        return [wrong(CHECK, message, remedy)]
    if policy.startswith("allkeys"):
        message = (
            f"{name}maxmemory-policy is {policy}; without maxmemory it does nothing yet, with it users are forgotten"
        )
        return [warning(CHECK, message, remedy)]
    if most and used > FULL_SHARE * most:
        message = f"{name}{used / 1e6:,.0f} of {most / 1e6:,.0f} MB are used; what is full refuses new behaviours"
        return [warning(CHECK, message, "raise maxmemory, or keep fewer behaviours")]
    limit = f" of {most / 1e6:,.0f}" if most else ", without a limit"
    return [ok(CHECK, f"{name}no user is evicted (maxmemory-policy {policy}); {used / 1e6:,.0f} MB used{limit}")]


def _persistence(name: str, server: Server) -> Finding:
    if server.info.get("aof_enabled"):
        if server.info.get("aof_last_write_status", "ok") != "ok":
            return wrong(CHECK, f"{name}the last write of its append-only file failed", "look at its log and its disk")
        return ok(CHECK, f"{name}every change is written to an append-only file")
    if server.info.get("rdb_last_bgsave_status", "ok") != "ok":
        return wrong(CHECK, f"{name}the last snapshot failed", "look at its log and its disk")
    if server.save_points:
        return ok(CHECK, f"{name}snapshots are saved; a crash loses what came after the last one")
    if server.save_points is None:
        return ok(CHECK, f"{name}there is no append-only file, and it does not say whether it saves snapshots")
    return warning(
        CHECK,
        f"{name}nothing is kept on disk: after a restart every user is new",
        "set appendonly yes, or be ready to publish again",
    )


def _clock(name: str, ahead_s: float) -> Finding:
    if not abs(ahead_s) <= CLOCK_TOLERANCE_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        message = f"{name}the clock of Redis is {abs(ahead_s):,.0f} s {side} this machine's"
        return warning("clock", message, "let NTP set both clocks")
    return ok(
        "clock", f"{name}the clocks of Redis and of this machine agree within {np.maximum(abs(ahead_s), 0.1):.1f} s"
    )


def sample_findings(sample: StoredSample, bundle: Bundle | None, *, now_s: float) -> list[Finding]:
    """Check that there are users, that their behaviours are readable, and that the bundle knows their items."""
    if not sample.num_users and not sample.is_complete:
        return [warning("users", "among very many other keys no user was found in the time of the look", "look again")]
    if not sample.num_users:
        return [
            warning(
                "users",
                "no user has behaviours in Redis: everybody would be ranked as a new user",
                "python -m service publish --bundle BUNDLE --data DATASET",
            )
        ]
    count = f"{sample.num_users:,}" if sample.is_complete else f"at least {sample.num_users:,}"
    total = len(sample.item_ids) + sample.num_malformed
    findings = [ok("users", f"{count} users have behaviours; {sample.num_sampled} of them were read")]
    if sample.num_malformed:
        findings.append(
            wrong(
                "users",
                f"{sample.num_malformed:,} of {total:,} sampled behaviours cannot be read and are skipped",
                "publish again; service/store/layout.py says how an element is written",
            )
        )
    if bundle is not None and sample.item_ids:
        findings.append(_known_items(sample, bundle))
    findings += _newest(sample.newest_timestamps, now_s)
    return findings


def _known_items(sample: StoredSample, bundle: Bundle) -> Finding:
    share = float(np.mean(bundle.encoder.catalogue.rows(sample.item_ids) != UNKNOWN_ROW))
    message = f"the bundle knows the items of {share:.1%} of {len(sample.item_ids):,} sampled behaviours"
    advice = "are bundle and Redis of the same data, with ids spelled alike? Publish the data of this bundle"
    if share == 0.0:
        return wrong("users", message, advice)
    if share < LEAST_KNOWN_SHARE:
        also = "users of other data stay in a Redis until they are removed; are many items newer than the bundle?"
        return warning("users", message, f"{advice}; {also}")
    return ok("users", message)


def _newest(timestamps: Sequence[float], now_s: float) -> list[Finding]:
    """Check the newest timestamps; no finding if those of most users are not in seconds since 1970."""
    if not timestamps or not LEAST_CLOCK <= float(np.median(timestamps)) <= _LAST_SECOND:
        return []
    in_seconds = [each for each in timestamps if each < UNITS_APART * LEAST_CLOCK]
    if len(in_seconds) < len(timestamps):
        return [
            warning(
                "clock",
                f"the newest behaviour of {len(timestamps) - len(in_seconds)} of {len(timestamps)} sampled users is in "
                "another unit than the others', which are seconds since 1970",
                "send live behaviours in the unit of the published ones; publishing again removes what is in another",
            )
        ]
    age_s = now_s - max(in_seconds)
    if not -age_s <= CLOCK_TOLERANCE_S:
        return [
            warning(
                "clock",
                f"the newest sampled behaviour lies {-age_s:,.0f} s in the future",
                "let NTP set the clocks of those who write behaviours; are its times in UTC?",
            )
        ]
    return [ok("clock", f"the newest sampled behaviour is {age_s / 86_400:,.1f} days old")]
