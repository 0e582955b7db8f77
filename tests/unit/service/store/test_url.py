import pytest

from dinrank.service.store.connection import connect
from dinrank.service.store.errors import BadRedisUrl
from dinrank.service.store.url import ACCEPTED_FORMS, RedisUrl, Topology, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", RedisUrl(Topology.SERVER, hosts=(("cache", 6379),))),
        ("redis://cache:7000/3", RedisUrl(Topology.SERVER, hosts=(("cache", 7000),), database=3)),
        (
            "redis://me:p%40ss%2F@cache",
            RedisUrl(Topology.SERVER, hosts=(("cache", 6379),), username="me", password="p@ss/"),
        ),
        ("redis://:secret@[::1]:7000/", RedisUrl(Topology.SERVER, hosts=(("::1", 7000),), password="secret")),
        (
            "rediss://cache?ssl_ca_certs=/etc/ca.pem",
            RedisUrl(Topology.SERVER, hosts=(("cache", 6379),), is_tls=True, tls_files={"ssl_ca_certs": "/etc/ca.pem"}),
        ),
        ("unix:///run/redis%20a.sock", RedisUrl(Topology.SERVER, socket_path="/run/redis a.sock")),
        (
            "unix://me:secret@/run/r.sock?db=2",
            RedisUrl(Topology.SERVER, socket_path="/run/r.sock", database=2, username="me", password="secret"),
        ),
        (
            "redis+sentinel://:secret@a,b:27000/ads/1",
            RedisUrl(
                Topology.SENTINEL, hosts=(("a", 26379), ("b", 27000)), service="ads", database=1, password="secret"
            ),
        ),
        ("rediss+sentinel://a/ads", RedisUrl(Topology.SENTINEL, hosts=(("a", 26379),), service="ads", is_tls=True)),
        ("redis+cluster://a,[::1]:7001", RedisUrl(Topology.CLUSTER, hosts=(("a", 6379), ("::1", 7001)))),
        ("rediss+cluster://a:7000", RedisUrl(Topology.CLUSTER, hosts=(("a", 7000),), is_tls=True)),
    ],
)
def test_a_url_in_an_accepted_form_is_taken_apart(url: str, expected: RedisUrl) -> None:
    assert parse_redis_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "http://cache",
        "redis+ring://cache",
        "unix+cluster:///run/redis.sock",
        "redis://",
        "redis:///0",
        "redis://cache:0x",
        "redis://cache:99999",
        "redis://a,b",
        "redis://cache/one",
        "redis://cache/-1",
        "redis://cache/0/1",
        "redis://cache?socket_timeout=9",
        "redis://cache?ssl_ca_certs=ca.pem",
        "redis://cache/0#1",
        "redis://[::1",
        "unix://run/redis.sock",
        "unix://",
        "unix:///run/redis.sock?db=x",
        "unix:///run/redis.sock?ssl=true",
        "redis+sentinel://a",
        "redis+sentinel://a,/ads",
        "redis+sentinel://a/ads/x",
        "redis+cluster://a/1",
    ],
)
def test_any_other_url_is_refused_with_the_accepted_forms(url: str) -> None:
    with pytest.raises(BadRedisUrl) as caught:
        connect(url, timeout_ms=100, max_connections=1)
    assert ACCEPTED_FORMS in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://:mellon@cache",
        "redis://:mellon",
        "redis://me:mellon/0",
        "redis://:mel/mellon@cache",
        "redis://:mel?mellon@cache",
        "redis://:mel#mellon@cache",
        "redis://me:mellon@cache/x",
        "unix://me:mellon/run/redis.sock",
    ],
)
def test_a_password_in_a_refused_url_is_not_repeated(url: str) -> None:
    with pytest.raises(BadRedisUrl) as caught:
        parse_redis_url(url)
    assert "mellon" not in str(caught.value) + str(caught.value.__cause__)


def test_a_password_is_not_shown_with_the_url() -> None:
    assert "mellon" not in repr(parse_redis_url("redis://:mellon@cache"))


@pytest.mark.parametrize(("timeout_ms", "max_connections"), [(0, 1), (1, 0)])
def test_limits_that_allow_nothing_are_refused(timeout_ms: int, max_connections: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        connect("redis://cache", timeout_ms=timeout_ms, max_connections=max_connections)
