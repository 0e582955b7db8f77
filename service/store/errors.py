"""Why a store cannot be set up. The operator acts; no request is to blame, so none of these has an HTTP status.

StoreSetupError
├── BadRedisUrl             the setting names no Redis
├── RedisBinaryMissing      there is no redis-server to start
├── DataDirectoryInUse      another program keeps its data there
└── RedisDidNotStart        the embedded redis-server gave up or never answered
"""


class StoreSetupError(Exception):
    """Root of everything that keeps a store from being opened. Messages say what to change."""


class BadRedisUrl(StoreSetupError):
    """The URL names no Redis in any accepted form. The message never repeats the URL, which may hold a password."""


class RedisBinaryMissing(StoreSetupError):
    """Neither the `embedded` extra nor a redis-server on PATH is there."""


class DataDirectoryInUse(StoreSetupError):
    """Another program's embedded Redis works on the same data directory."""


class RedisDidNotStart(StoreSetupError):
    """The embedded redis-server ended, or did not answer in time; the message holds the end of its log."""
