"""Several models side by side: a user's share decides, a request may choose, shadows are compared and answer nobody."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dinrank.model.bundle.reader import open_bundle
from dinrank.service.lineup.split import point_of
from tests.fixtures.bundle import expected_ctr, make_bundle, shifted
from tests.fixtures.redis_server import wait_until
from tests.fixtures.service import ADMIN, RunningService, running_service

SHIFT = 0.7
ADS = ("1", "2", "3")
CTRS = {ad: expected_ctr(ad) for ad in ADS}
SHIFTED_CTRS = {ad: shifted(ctr, SHIFT) for ad, ctr in CTRS.items()}


@pytest.fixture(scope="module")
def shifted_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("shifted") / "shifted", shift=SHIFT)


def version_of(path: Path) -> str:
    return open_bundle(path).manifest.model_version


@pytest.fixture
def split(bundle_path: Path, shifted_path: Path, redis_url: str) -> Iterator[RunningService]:
    """Half of the users belong to the shifted model."""
    challengers = f"{shifted_path}:0.5"
    with running_service(bundle_path, redis_url, redis_timeout_ms=5_000, challengers=challengers) as running:
        yield running


@pytest.fixture
def shadowed(bundle_path: Path, shifted_path: Path, redis_url: str) -> Iterator[RunningService]:
    challengers = f"{shifted_path}:shadow"
    with running_service(bundle_path, redis_url, redis_timeout_ms=5_000, challengers=challengers) as running:
        yield running


def body(user_id: str = "nobody", **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "candidates": [{"ad_id": ad, "bid": 1.0} for ad in ADS], **more}


def ctrs(answer: dict[str, Any]) -> dict[str, float]:
    return {ad["ad_id"]: ad["ctr"] for ad in answer["ads"]}


def test_a_users_share_decides_and_the_answer_names_the_model(
    split: RunningService, bundle_path: Path, shifted_path: Path
) -> None:
    for user_id in map(str, range(20)):
        has_challenger = point_of(user_id, "") < 0.5
        for _ in range(2):
            answer = split.rank(body(user_id)).json()
            path, expected = (shifted_path, SHIFTED_CTRS) if has_challenger else (bundle_path, CTRS)
            assert answer["model"]["version"] == version_of(path)
            assert ctrs(answer) == pytest.approx(expected, abs=1e-6)
    counted = [
        split.metric(f'dinrank_rankings_total{{version="{version_of(path)}"}}') for path in (bundle_path, shifted_path)
    ]
    assert sum(counted) == 40
    assert counted[1] == 2 * sum(point_of(str(user), "") < 0.5 for user in range(20))


def test_a_request_may_choose_its_model(split: RunningService, bundle_path: Path, shifted_path: Path) -> None:
    for path, expected in ((bundle_path, CTRS), (shifted_path, SHIFTED_CTRS)):
        answer = split.rank(body(model=version_of(path))).json()
        assert answer["model"]["version"] == version_of(path)
        assert ctrs(answer) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_is_not_served_is_refused_with_those_that_are(
    split: RunningService, bundle_path: Path, shifted_path: Path
) -> None:
    response = split.rank(body(model="gone"))
    problem = response.json()
    assert (response.status_code, problem["type"]) == (400, "urn:dinrank:problem:model-not-served")
    assert problem["errors"][0]["field"] == "model"
    assert version_of(bundle_path) in problem["detail"] and version_of(shifted_path) in problem["detail"]


def test_the_models_are_listed_with_their_shares(
    split: RunningService, shadowed: RunningService, bundle_path: Path, shifted_path: Path
) -> None:
    def listed(service: RunningService) -> list[tuple[str, str, float]]:
        models = service.get("/models").json()["models"]
        return [(each["model"]["version"], each["role"], each["share"]) for each in models]

    champion, other = version_of(bundle_path), version_of(shifted_path)
    assert listed(split) == [(champion, "champion", 0.5), (other, "challenger", 0.5)]
    assert listed(shadowed) == [(champion, "champion", 1.0), (other, "shadow", 0.0)]
    assert split.get("/model").json()["version"] == champion
    assert split.metric(f'dinrank_model_info{{name="formula",role="challenger",version="{other}"}}') == 1
    assert shadowed.get("/readyz").json()["challengers"][0]["model"]["version"] == other


def test_a_shadow_is_compared_and_answers_nobody(
    shadowed: RunningService, bundle_path: Path, shifted_path: Path
) -> None:
    of_shadow = f'version="{version_of(shifted_path)}"'
    compared = f'dinrank_shadow_rankings_total{{outcome="compared",{of_shadow}}}'

    def has_compared(times: int) -> bool:
        return shadowed.metric(compared) == times

    offered = 3
    for number in range(offered):
        answer = shadowed.rank(body(top_k=1, reserve_price=0.5)).json()  # it sees all candidates nevertheless
        assert answer["model"]["version"] == version_of(bundle_path)
        wait_until(partial(has_compared, number + 1), "the shadow compares")
    assert shadowed.metric(f"dinrank_shadow_same_winner_total{{{of_shadow}}}") == offered  # the shift keeps the order
    assert shadowed.metric(f"dinrank_shadow_ctr_difference_count{{{of_shadow}}}") == offered * len(ADS)
    differences = sum(abs(SHIFTED_CTRS[ad] - CTRS[ad]) for ad in ADS)
    assert shadowed.metric(f"dinrank_shadow_ctr_difference_sum{{{of_shadow}}}") == pytest.approx(
        offered * differences, abs=1e-5
    )
    # Callers' rankings alone are counted as such.
    assert shadowed.metric(f"dinrank_rankings_total{{{of_shadow}}}") == 0
    assert shadowed.metric("dinrank_candidates_count") == offered


def test_without_the_store_a_shadow_is_not_compared(bundle_path: Path, shifted_path: Path) -> None:
    with running_service(bundle_path, "redis://127.0.0.1:1", challengers=f"{shifted_path}:shadow") as lonely:
        assert lonely.rank(body()).json()["degraded"]
        skipped = f'dinrank_shadow_rankings_total{{outcome="skipped",version="{version_of(shifted_path)}"}}'
        assert lonely.metric(skipped) == 1


def test_a_challenger_is_reloaded_by_itself(
    bundle_path: Path, shifted_path: Path, redis_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "challenger"
    link.symlink_to(bundle_path)
    with running_service(
        bundle_path, redis_url, redis_timeout_ms=5_000, bundle_poll_ms=0, challengers=f"{link}:1"
    ) as service:
        assert ctrs(service.rank(body()).json()) == pytest.approx(CTRS, abs=1e-6)
        new = tmp_path / "new"
        new.symlink_to(shifted_path)
        new.replace(link)
        reloaded = service.request("POST", "/admin/reload", headers=ADMIN).json()
        assert reloaded == {"model": {"name": "formula", "version": version_of(bundle_path)}, "outcome": "swapped"}
        assert ctrs(service.rank(body()).json()) == pytest.approx(SHIFTED_CTRS, abs=1e-6)
