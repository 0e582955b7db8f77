"""Errors of setting up a store. The operator has to act; no request is at fault, so none has an HTTP status.

StoreSetupError
├── BadRedisUrl             the setting is not a Redis URL
├── RedisBinaryMissing      no redis-server to start
├── DataDirectoryInUse      another program uses the data directory
└── RedisDidNotStart        the embedded redis-server gave up or never answered
"""


class StoreSetupError(Exception):
    """Base of all errors of opening a store. Messages say what to change."""


class BadRedisUrl(StoreSetupError):
    """The URL has none of the accepted forms. The message never repeats the URL, which may hold a password."""


class RedisBinaryMissing(StoreSetupError):
    """Neither the `embedded` extra is installed nor a redis-server on PATH."""


class DataDirectoryInUse(StoreSetupError):
    """Another program's embedded Redis uses the same data directory."""


class RedisDidNotStart(StoreSetupError):
    """The embedded redis-server exited or did not answer in time; the message holds the tail of its log."""
