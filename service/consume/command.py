"""A consumer from its settings to its end: connections, bundle and signals."""

import asyncio
import logging
import os
import signal
import socket

from service.consume.bundle_follower import BundleFollower
from service.consume.consumer import Consumer
from service.settings import Settings
from service.signatures import TrustedKeys
from service.store.behaviour_writer import BehaviourWriter
from service.store.connection import connect
from service.store.stream import BehaviourStream
from service.telemetry import log_event

_TIMEOUT_MS = 10_000  # of a round trip; a read waits for entries within it


def consume(settings: Settings, url: str, *, stream: str, group: str, consumer: str | None) -> None:
    """Bring the stream's behaviours into Redis's histories until SIGTERM or Ctrl-C.

    Args:
        url: of the Redis that has both.
        consumer: this one's name in the group; made of host and process when left out.

    Raises:
        BundleError, BadRedisUrl
    """
    asyncio.run(_consume(settings, url, stream=stream, group=group, consumer=consumer or _own_name()))


async def _consume(settings: Settings, url: str, *, stream: str, group: str, consumer: str) -> None:
    trusted = TrustedKeys.of(settings.bundle_keys)
    bundle = BundleFollower(settings.bundle, poll_ms=settings.bundle_poll_ms, signatures=trusted)
    connection = connect(url, timeout_ms=_TIMEOUT_MS, max_connections=1)
    try:
        entries = BehaviourStream(connection, stream=stream, group=group, consumer=consumer)
        writer = BehaviourWriter(connection, max_stored=settings.max_stored_behaviours)
        running = Consumer(entries, writer, bundle.encoder)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.stop)
        log_event(logging.INFO, "consuming", stream=stream, group=group, consumer=consumer)
        await running.run()
    finally:
        await connection.aclose()


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
