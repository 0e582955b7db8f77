"""A short run of the chaos suite: `make chaos` has all faults."""

import io
import math
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console

from tests.chaos import report
from tests.chaos.__main__ import ALL_FAULTS, provoke
from tests.chaos.traffic import Asked, History, Users, fault_in, requests
from tests.fixtures.bundle import expected_ctr

SHORT_S = 1.0


def test_faults_cost_what_is_promised_and_no_more() -> None:
    faults = [replace(fault, lasts_s=min(fault.lasts_s, SHORT_S)) for fault in ALL_FAULTS if fault.quick]
    verdicts = list(provoke(faults, Console(file=io.StringIO()), late_after_s=math.inf))
    assert {verdict.fault: verdict.details for verdict in verdicts if verdict.unpromised} == {}
    assert all(verdict.outcomes["ok"] > 0 for verdict in verdicts)
    assert report.document(verdicts)["unpromised_failures"] == 0


def formula_ads(asked: Asked, history: History, profile: Mapping[str, str]) -> list[dict[str, float]]:
    """The right answer's ads, highest eCPM first."""
    ctrs = [expected_ctr(ad, history, profile=profile, context={"hour": asked.hour}) for ad in asked.ads]
    ads = [{"bid": bid, "ctr": ctr, "ecpm": bid * ctr} for bid, ctr in zip(asked.bids, ctrs, strict=True)]
    return sorted(ads, key=lambda ad: -ad["ecpm"])


def test_an_answer_that_is_slightly_wrong_is_found() -> None:
    """The suite's own judge, on an answer made by the formula and then changed."""
    users, asked = Users.made(), next(requests())
    ads = formula_ads(asked, users.histories[asked.user_id], users.profiles[asked.user_id])
    answer = {"model": {"version": "a"}, "degraded": [], "ads": ads}
    assert fault_in(answer, asked, users, {"a": 0.0}) is None
    assert fault_in(answer, asked, users, {"a": 0.5}) is not None
    assert fault_in(answer, asked, users, {"b": 0.0}) is not None
    assert fault_in(answer | {"ads": ads[:-1]}, asked, users, {"a": 0.0}) is not None
    assert fault_in(answer | {"ads": [ads[-1], *ads[1:-1], ads[0]]}, asked, users, {"a": 0.0}) is not None


def test_a_degraded_answer_is_judged_without_what_is_stored() -> None:
    users = Users.made()
    asked = next(each for each in requests() if users.histories[each.user_id])
    answer = {"model": {"version": "a"}, "degraded": ["behaviours", "profile"], "ads": formula_ads(asked, (), {})}
    assert fault_in(answer, asked, users, {"a": 0.0}) is None
    assert fault_in(answer | {"degraded": []}, asked, users, {"a": 0.0}) is not None
