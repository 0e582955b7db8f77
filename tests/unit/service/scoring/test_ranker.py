"""A request's story, with a store in a dictionary and the real graph of the formula."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.service.errors import (
    CallerLeft,
    DeadlineTooShort,
    ExplanationTooLarge,
    ExplanationUnavailable,
    FeatureStoreUnavailable,
    StoreFailure,
    TooManyCandidates,
    UnknownFeature,
)
from dinrank.service.scoring.measures import Counted
from dinrank.service.scoring.predictor import Predictor
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.scoring.ranking import Caller, Candidates, Part, Ranking, RankingTask
from dinrank.service.scoring.threads import ScoringThreads
from dinrank.service.store.protocol import StoredAds, StoredBehaviours, StoredFeatures
from dinrank.service.telemetry.metrics import Telemetry
from tests.fixtures.bundle import MAX_BEHAVIOURS, expected_ctr, item_number, make_bundle

LIMIT = 10
PAIRS_LIMIT = 20


class Candidate(NamedTuple):
    """One candidate as a row: easier to read than columns."""

    ad_id: str
    bid: float
    features: Attributes = {}


class Ad(NamedTuple):
    """One ad of an answer as a row."""

    ad_id: str
    bid: float
    ctr: float
    ecpm: float


@dataclass
class DictionaryStore:
    """A `FeatureStore` in memory that also tells what it was asked; `is_down` makes it refuse, `is_silent` wait."""

    users: dict[str, StoredFeatures] = field(default_factory=dict)
    ads: dict[str, Attributes] = field(default_factory=dict)
    is_down: bool = False
    is_silent: bool = False
    why: StoreFailure = StoreFailure.UNREACHABLE
    asked: list[tuple[str, int, Sequence[str]]] = field(default_factory=list)

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        self.asked.append((user_id, max_behaviours, new_ads))
        if self.is_silent:
            await asyncio.Event().wait()
        if self.is_down:
            raise FeatureStoreUnavailable("the dictionary is closed", self.why)
        known = self.users.get(user_id, StoredFeatures(StoredBehaviours(), {}, {}))
        ads = {ad: self.ads[ad] for ad in new_ads if ad in self.ads}
        assert len(known.behaviours) <= max_behaviours
        return StoredFeatures(known.behaviours, known.profile, ads, known.num_malformed)

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        return StoredAds({ad: self.ads[ad] for ad in ads if ad in self.ads})

    def part_of(self, user_id: str) -> str:
        return ""

    def part_of_ad(self, ad_id: str) -> str:
        return ""

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass
class Stage:
    """A ranker with what it works on."""

    bundle: Bundle
    store: DictionaryStore
    telemetry: Telemetry
    ranker: Ranker

    def rank(
        self,
        *candidates: Candidate,
        context: Attributes | None = None,
        caller: Caller | None = None,
        **task: object,
    ) -> Ranking:
        asked = RankingTask(
            request_id="r1",
            user_id="42",
            candidates=Candidates(
                ad_ids=[each.ad_id for each in candidates],
                bids=[each.bid for each in candidates],
                features={place: each.features for place, each in enumerate(candidates) if each.features},
            ),
            context=context or {},
            **task,  # type: ignore[arg-type]
        )
        return asyncio.run(self.ranker.rank(asked, caller))

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 when nothing was observed."""
        for family in text_string_to_metric_families(self.telemetry.exposition().decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0


@pytest.fixture
def make_stage(bundle_path: Path) -> Iterator[object]:
    with ScoringThreads(1) as threads:

        def make(path: Path = bundle_path, *, refuses_without_store: bool = False) -> Stage:
            bundle, store, telemetry = open_bundle(path), DictionaryStore(), Telemetry()
            ranker = Ranker(
                bundle=bundle,
                predictor=Predictor.load(bundle),
                store=store,
                threads=threads,
                measures=Counted(telemetry, version="v1", schema=bundle.schema),
                max_candidates=LIMIT,
                max_explained_pairs=PAIRS_LIMIT,
                refuses_without_store=refuses_without_store,
            )
            return Stage(bundle, store, telemetry, ranker)

        yield make


@pytest.fixture
def stage(make_stage: object) -> Stage:
    assert callable(make_stage)
    made: Stage = make_stage()
    return made


def ads(ranking: Ranking) -> list[Ad]:
    columns = zip(ranking.ad_ids, ranking.bids, ranking.ctrs, ranking.ecpms, strict=True)
    return [Ad(*values) for values in columns]


def ctrs(ranking: Ranking) -> Mapping[str, float]:
    return {ad.ad_id: ad.ctr for ad in ads(ranking)}


def stored(
    *item_ids: str, attributes: Mapping[int, Attributes] | None = None, num_malformed: int = 0, **profile: str
) -> StoredFeatures:
    return StoredFeatures(StoredBehaviours(item_ids, attributes or {}), profile, {}, num_malformed)


def test_ctrs_come_from_behaviours_profile_and_context(stage: Stage) -> None:
    stage.store.users["42"] = stored("3", "2", gender="f", age="51")
    ranking = stage.rank(Candidate("1", 1.0), Candidate("4", 2.0), context={"hour": "9", "is_weekend": False})
    expected = {
        ad: expected_ctr(ad, ["3", "2"], profile={"gender": "f", "age": 51}, context={"hour": "9", "is_weekend": False})
        for ad in ("1", "4")
    }
    assert ctrs(ranking) == pytest.approx(expected, abs=1e-6)
    assert ranking.num_behaviours == 2
    assert ranking.degraded == ()


def test_ads_come_by_ecpm(stage: Stage) -> None:
    ranking = stage.rank(Candidate("1", 0.1), Candidate("2", 3.0), Candidate("3", 1.0))
    assert [(ad.ad_id, ad.bid) for ad in ads(ranking)] == [("2", 3.0), ("3", 1.0), ("1", 0.1)]
    assert all(ad.ecpm == ad.bid * ad.ctr for ad in ads(ranking))


def test_top_k_cuts_the_answer_and_not_the_scoring(stage: Stage) -> None:
    whole = stage.rank(Candidate("1", 0.1), Candidate("2", 3.0), Candidate("3", 1.0))
    best = stage.rank(Candidate("1", 0.1), Candidate("2", 3.0), Candidate("3", 1.0), top_k=2)
    assert ads(best) == ads(whole)[:2]


def test_duplicates_are_scored_as_sent(stage: Stage) -> None:
    dear = {"price": 30}
    ranking = stage.rank(Candidate("1", 1.0), Candidate("1", 2.0), Candidate("1", 3.0, dear))
    assert [ad.bid for ad in ads(ranking)] == [3.0, 2.0, 1.0]
    expected = [expected_ctr("1", attributes=dear), expected_ctr("1"), expected_ctr("1")]
    assert [ad.ctr for ad in ads(ranking)] == pytest.approx(expected, abs=1e-6)


def test_the_store_is_asked_once_for_the_newest_behaviours_and_each_new_ad(stage: Stage) -> None:
    stage.rank(Candidate("new", 1.0), Candidate("1", 1.0), Candidate("newer", 1.0), Candidate("new", 2.0))
    assert stage.store.asked == [("42", MAX_BEHAVIOURS, ["new", "newer"])]


def test_a_new_ad_is_described_by_the_store_and_the_request_overrides_it(stage: Stage) -> None:
    stage.store.ads["new"] = {"genre": ["Drama"], "price": "15"}
    ranking = stage.rank(Candidate("new", 2.0), Candidate("new", 1.0, {"genre": ["Horror"]}))
    expected = [
        expected_ctr("new", attributes={"genre": ["Drama"], "price": 15}),
        expected_ctr("new", attributes={"genre": ["Horror"], "price": 15}),
    ]
    assert [ad.ctr for ad in ads(ranking)] == pytest.approx(expected, abs=1e-6)


def test_an_ad_that_nobody_describes_is_scored_as_unknown(stage: Stage) -> None:
    assert ctrs(stage.rank(Candidate("new", 1.0))) == pytest.approx({"new": expected_ctr("new")}, abs=1e-6)
    assert stage.metric("dinrank_unknown_ads_total") == 1


def test_stored_attributes_describe_behaviours_that_the_bundle_lacks(stage: Stage) -> None:
    of_known = {"genre": ["Horror"]}  # the bundle knows better what the model was trained with
    of_new = {"genre": ["Horror"], "price": "25"}
    stage.store.users["42"] = stored("1", "newest", attributes={0: of_known, 1: of_new})
    expected = expected_ctr("3", ["1", "newest"], behaviour_attributes={1: {"genre": ["Horror"], "price": 25}})
    assert ctrs(stage.rank(Candidate("3", 1.0))) == pytest.approx({"3": expected}, abs=1e-6)


def test_a_user_whom_the_store_does_not_know_is_no_error(stage: Stage) -> None:
    ranking = stage.rank(Candidate("1", 1.0))
    assert ctrs(ranking) == pytest.approx({"1": expected_ctr("1")}, abs=1e-6)
    assert (ranking.num_behaviours, ranking.degraded) == (0, ())
    assert stage.metric("dinrank_unknown_users_total") == 1


def test_without_the_store_answers_are_degraded_and_say_so(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.store.users["42"] = stored("3", "2", gender="f")
    stage.store.is_down = True
    ranking = stage.rank(Candidate("1", 1.0), context={"hour": "9"})
    assert ranking.degraded == [Part.BEHAVIOURS, Part.PROFILE]
    assert ctrs(ranking) == pytest.approx({"1": expected_ctr("1", context={"hour": "9"})}, abs=1e-6)
    assert stage.metric("dinrank_degraded_answers_total", part="behaviours") == 1
    assert stage.metric("dinrank_degraded_answers_total", part="profile") == 1
    assert stage.metric("dinrank_unknown_users_total") == 0
    [line] = [record.getMessage() for record in caplog.records if record.name == "dinrank"]
    assert line == 'degraded request_id="r1" parts="behaviours,profile" error="the dictionary is closed"'


def test_without_the_store_new_ads_miss_their_attributes_too(stage: Stage) -> None:
    stage.store.is_down = True
    assert stage.rank(Candidate("new", 1.0)).degraded == [Part.BEHAVIOURS, Part.PROFILE, Part.ADS]


def test_a_store_left_alone_by_its_breaker_is_counted_but_writes_no_line(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.store.is_down, stage.store.why = True, StoreFailure.BREAKER
    assert stage.rank(Candidate("1", 1.0)).degraded == [Part.BEHAVIOURS, Part.PROFILE]
    assert stage.metric("dinrank_store_failures_total", kind="breaker") == 1
    assert [record for record in caplog.records if record.name == "dinrank"] == []


def test_where_degraded_answers_are_not_wanted_the_stores_failure_is_the_rankings(make_stage: object) -> None:
    assert callable(make_stage)
    stage = make_stage(refuses_without_store=True)
    stage.store.is_down = True
    with pytest.raises(FeatureStoreUnavailable, match="the dictionary is closed"):
        stage.rank(Candidate("1", 1.0))
    assert stage.metric("dinrank_store_failures_total", kind="unreachable") == 1
    assert stage.metric("dinrank_degraded_answers_total", part="behaviours") == 0


def test_a_silent_store_gets_no_more_than_the_deadline_leaves(stage: Stage) -> None:
    stage.store.is_silent = True
    caller = Caller(gives_up_s=time.monotonic() + 1.5)
    assert stage.rank(Candidate("1", 1.0), caller=caller).degraded == [Part.BEHAVIOURS, Part.PROFILE]
    assert stage.metric("dinrank_store_failures_total", kind="deadline") == 1
    assert 0 < caller.store_s < 1.5


def test_after_the_deadline_nothing_is_fetched_or_scored(stage: Stage) -> None:
    with pytest.raises(DeadlineTooShort):
        stage.rank(Candidate("1", 1.0), caller=Caller(gives_up_s=time.monotonic() - 1.0))
    assert stage.store.asked == []
    assert stage.metric("dinrank_stage_seconds_count", stage="score") == 0


def test_for_a_caller_who_has_left_nothing_is_scored(stage: Stage) -> None:
    with pytest.raises(CallerLeft):
        stage.rank(Candidate("1", 1.0), caller=Caller(has_left=lambda: True))
    assert stage.metric("dinrank_stage_seconds_count", stage="score") == 0


def test_an_explanation_gives_each_behaviours_weight_oldest_first(stage: Stage) -> None:
    behaviours = ["1", "2", "3", "4", "rare"]
    stage.store.users["42"] = stored(*behaviours)
    assert len(behaviours) == MAX_BEHAVIOURS
    ranking = stage.rank(Candidate("1", 1.0), Candidate("3", 0.5), explain=True)
    assert ranking.explanation is not None
    assert list(ranking.explanation.item_ids) == behaviours
    assert len(ranking.explanation.weights) == 2
    for ad_id, weights in zip(ranking.ad_ids, ranking.explanation.weights, strict=True):
        expected = [item_number(ad_id) * item_number(item_id) for item_id in behaviours]
        assert weights == pytest.approx(expected, abs=1e-6)


def test_a_new_users_explanation_is_empty(stage: Stage) -> None:
    explanation = stage.rank(Candidate("1", 1.0), explain=True).explanation
    assert explanation is not None
    assert (list(explanation.item_ids), explanation.weights) == ([], [[]])


def test_an_explanation_of_too_many_weights_is_refused_before_anything_is_scored(stage: Stage) -> None:
    stage.store.users["42"] = stored("1", "2", "3", "4", "rare")
    with pytest.raises(ExplanationTooLarge) as caught:
        stage.rank(*[Candidate("1", 1.0)] * 5, explain=True)
    assert str(caught.value) == (
        "5 ads x 5 behaviours are 25 weights, at most 20 are explained per request; ask for a `top_k` of at most 4"
    )
    assert stage.metric("dinrank_stage_seconds_count", stage="score") == 0
    assert len(stage.rank(*[Candidate("1", 1.0)] * 5).ad_ids) == 5  # without weights


def test_only_ads_that_are_shown_are_explained(stage: Stage) -> None:
    stage.store.users["42"] = stored("1", "2", "3", "4", "rare")
    cheap, dear = [Candidate("1", 0.1)] * 5, [Candidate("1", 1.0)] * 4
    for ranking in (
        stage.rank(*cheap, *dear, explain=True, top_k=4),
        stage.rank(*cheap, *dear, explain=True, reserve_price=0.5),
    ):
        assert ranking.explanation is not None
        assert len(ranking.explanation.weights) == 4


def test_long_item_ids_count_by_their_length(stage: Stage) -> None:
    stage.store.users["42"] = stored("x" * 1_300)
    with pytest.raises(ExplanationTooLarge, match="1 ads x 21 behaviours .* rank without `explain`"):
        stage.rank(Candidate("1", 1.0), explain=True)


def test_a_model_without_weights_explains_nothing(make_stage: object, tmp_path: Path) -> None:
    assert callable(make_stage)
    stage = make_stage(make_bundle(tmp_path / "bundle", has_weights=False))
    with pytest.raises(ExplanationUnavailable, match="'formula' has no activation weights") as caught:
        stage.rank(Candidate("1", 1.0), explain=True)
    assert caught.value.field == "explain"
    assert stage.store.asked == []


def test_too_many_candidates_are_refused_before_anything_is_fetched(stage: Stage) -> None:
    with pytest.raises(TooManyCandidates, match="11 candidates sent, at most 10"):
        stage.rank(*[Candidate("1", 1.0)] * (LIMIT + 1))
    assert stage.store.asked == []
    assert len(stage.rank(*[Candidate("1", 1.0)] * LIMIT).ad_ids) == LIMIT


@pytest.mark.parametrize(
    ("candidate", "context", "field"),
    [
        (Candidate("1", 1.0, {"colour": "red"}), {}, "candidates.1.features.colour"),
        (Candidate("1", 1.0, {"genre": ["Drama"], "item_id": "2"}), {}, "candidates.1.features.item_id"),
        (Candidate("1", 1.0, {"price": [1, 2]}), {}, "candidates.1.features.price"),
        (Candidate("1", 1.0), {"hour": "9", "weather": "rain"}, "context.weather"),
        (Candidate("1", 1.0), {"hour": ["9", "10"]}, "context.hour"),
        (Candidate("1", 1.0), {"gender": "f"}, "context.gender"),
    ],
)
def test_an_unknown_feature_is_named_by_its_place(
    stage: Stage, candidate: Candidate, context: Attributes, field: str
) -> None:
    with pytest.raises(UnknownFeature) as caught:
        stage.rank(Candidate("2", 1.0, {"genre": ["Comedy"]}), candidate, context=context)
    assert caught.value.field == field


def test_each_request_is_counted_once_in_every_metric(stage: Stage) -> None:
    stage.store.users["42"] = stored("3", "2", num_malformed=4)
    stage.rank(Candidate("1", 1.0), Candidate("new", 1.0), Candidate("new", 1.0))
    assert stage.metric("dinrank_candidates_sum") == 3
    assert stage.metric("dinrank_behaviours_sum") == 2
    assert stage.metric("dinrank_unknown_ads_total") == 2
    assert stage.metric("dinrank_malformed_elements_total") == 4
    for measured in ("store", "encode", "score"):
        assert stage.metric("dinrank_stage_seconds_count", stage=measured) == 1
