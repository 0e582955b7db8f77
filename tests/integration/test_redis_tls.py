"""Service and publisher reach Redis over TLS, and only a Redis that shows the right certificate."""

from pathlib import Path

import pytest

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store.user_data import published_user_ids
from tests.fixtures.redis_server import RedisServer
from tests.fixtures.service import running_service
from tests.fixtures.tls import Certificate
from tests.fixtures.tls_proxy import tls_in_front_of

ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}


def test_behaviours_are_read_over_tls(bundle_path: Path, redis_server: RedisServer, certificate: Certificate) -> None:
    redis_server.client.rpush("{u:42}:behaviours", '{"item_id":"2","timestamp":7}')
    with tls_in_front_of(redis_server.port, certificate) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate.certificate}"
        with running_service(bundle_path, url, redis_timeout_ms=20_000) as service:
            answer = service.rank(ONE_AD).json()
    assert (answer["behaviours"], answer["degraded"]) == (1, [])


def test_a_redis_that_nobody_vouches_for_is_not_used(
    bundle_path: Path, redis_server: RedisServer, certificate: Certificate
) -> None:
    redis_server.client.rpush("{u:42}:behaviours", '{"item_id":"2","timestamp":7}')
    with tls_in_front_of(redis_server.port, certificate) as port:  # the system knows no such authority
        with running_service(bundle_path, f"rediss://127.0.0.1:{port}", redis_timeout_ms=20_000) as service:
            answer = service.rank(ONE_AD).json()
        assert (answer["behaviours"], answer["degraded"]) == (0, ["behaviours", "profile"])
        with pytest.raises(FeatureStoreUnavailable, match="certificate verify failed"):
            published_user_ids(f"rediss://127.0.0.1:{port}")


def test_a_client_certificate_is_shown_to_a_redis_that_asks_for_one(
    redis_server: RedisServer, certificate: Certificate
) -> None:
    redis_server.client.rpush("{u:42}:behaviours", "{}")
    with tls_in_front_of(redis_server.port, certificate, asks_for_certificate=True) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate.certificate}"
        own = f"&ssl_certfile={certificate.certificate}&ssl_keyfile={certificate.key}"
        assert published_user_ids(url + own, timeout_ms=20_000) == ["42"]
        with pytest.raises(FeatureStoreUnavailable):
            published_user_ids(url, timeout_ms=20_000)
