"""The playground, clicked through in a real browser, against a real service and a network that was really trained."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import Shop
from tests.e2e.shop import HOBBIES, item_id
from tests.fixtures.command import ROOT, served

SWIMMER = "u0"
ADS = {"sw1": 0.5, "cl0": 0.6, "co1": 0.7, "cy0": 0.4, "ph0": 0.9, "ga0": 0.8}
TITLES = {item_id(hobby, place): title for hobby, titles in HOBBIES.items() for place, title in enumerate(titles)}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: into the documents when `make pictures` asks for that."""
    return ROOT / "docs" / "images" if os.environ.get("DINRANK_PICTURES") else tmp_path_factory.mktemp("pictures")


def open_page(page: Page, shop: Shop, *, user: str = SWIMMER, ads: dict[str, float] = ADS) -> None:
    sent = ",".join(f"{ad}:{bid}" for ad, bid in ads.items())
    page.goto(f"{shop.address}/#user={user}&ads={sent}")
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("#summary")).to_contain_text("ads ranked on")


def answer(shop: Shop, *, user: str = SWIMMER, ads: dict[str, float] = ADS, **more: Any) -> Any:
    candidates = [{"ad_id": ad, "bid": bid} for ad, bid in ads.items()]
    return shop.rank(user_id=user, candidates=candidates, **more)


def rows(ranking: Locator) -> list[dict[str, str]]:
    """What is shown, in the order in which it is seen."""
    found = ranking.evaluate(
        """list => [...list.children].map(row => ({
             top: row.getBoundingClientRect().top,
             rank: row.querySelector(".rank").textContent,
             title: row.querySelector(".title").textContent,
             ...Object.fromEntries([...row.querySelectorAll(".figures div")].map(
               each => [each.querySelector("dt").textContent, each.querySelector("dd").textContent])),
           })).sort((one, other) => one.top - other.top)"""
    )
    return [{name: value for name, value in row.items() if name != "top"} for row in found]


def titles(ranking: Locator) -> list[str]:
    return [row["title"] for row in rows(ranking)]


def expected_titles(found: Any) -> list[str]:
    return [TITLES[ad["ad_id"]] for ad in found["ads"]]


def settled(page: Page) -> None:
    """Wait until nothing is asked any more and rows have stopped moving."""
    while page.evaluate(
        """document.getElementById("ranking").getAttribute("aria-busy") === "true"
           || document.getAnimations().some(each => each.playState === "running")"""
    ):
        page.wait_for_timeout(20)


def test_a_user_is_shown_with_profile_and_titles_newest_first(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    stored = shop.user(SWIMMER)
    assert page.locator("#profile dd").all_text_contents() == list(stored["profile"].values())
    shown = page.locator("#behaviours li .title").all_text_contents()
    assert shown == [TITLES[each["item_id"]] for each in reversed(stored["behaviours"])]


def test_the_ranking_is_the_services(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    expected = answer(shop)
    found = rows(page.locator("#ranking"))
    assert [row["title"] for row in found] == expected_titles(expected)
    assert [float(row["eCPM"]) for row in found] == pytest.approx([ad["ecpm"] for ad in expected["ads"]], abs=5e-5)
    assert [row["rank"] for row in found] == [str(rank) for rank in range(1, len(ADS) + 1)]
    expect(page.locator("#model")).to_have_text(f"din {shop.champion}")


def test_another_user_can_be_picked_and_a_stranger_too(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    assert page.locator("#some-users option").count() > 10
    page.fill("#user-id", "u7")
    page.keyboard.press("Enter")
    stored = shop.user("u7")["behaviours"]
    expect(page.locator("#behaviours li")).to_have_count(len(stored))
    page.fill("#user-id", "nobody")
    page.click("text=Show")
    expect(page.locator("#behaviours-note")).to_contain_text("Nothing is stored of this user")
    expect(page.locator("#summary")).to_contain_text("ranked on 0 behaviours")
    settled(page)
    assert titles(page.locator("#ranking")) == expected_titles(answer(shop, user="nobody"))


def test_dragging_a_bid_reorders_the_ranking_while_it_is_dragged(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    last = expected_titles(answer(shop))[-1]
    ad = next(ad for ad, title in TITLES.items() if title == last)
    expected = answer(shop, ads=ADS | {ad: 2.0})  # at the slider's right end
    rank = expected_titles(expected).index(last) + 1
    assert rank < len(ADS)
    slider = page.get_by_label(f"Bid for {last}", exact=True)
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * float(slider.input_value()) / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], middle, steps=12)
    moved = page.locator("#ranking .ad").filter(has_text=last).locator(".rank")
    expect(moved).to_have_text(str(rank))  # not let go yet
    page.mouse.up()
    settled(page)
    assert titles(page.locator("#ranking")) == expected_titles(expected)
    # Who goes through the page by keyboard or ear meets the same order.
    assert page.locator("#ranking .ad .title").all_text_contents() == expected_titles(expected)


def test_an_exact_bid_can_be_typed(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    page.get_by_label("Exact bid for Trowel").fill("3.25")
    settled(page)
    assert titles(page.locator("#ranking")) == expected_titles(answer(shop, ads=ADS | {"ga0": 3.25}))


def test_candidates_come_by_search_and_by_chance_and_go(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    search = page.get_by_label("Add a candidate")
    search.fill("gOGGles")
    expect(page.locator("#add-candidate .results button").first).to_contain_text("Swimming goggles")
    search.fill("wheel")
    expect(page.locator("#add-candidate .results button").first).to_contain_text("Wheelbarrow")
    search.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#ranking .ad")).to_have_count(7)
    page.click("text=20 random")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"(2[0-7]) ads ranked"))
    page.get_by_label("Remove Wheelbarrow").click()
    expect(page.locator("#ranking .ad").filter(has_text="Wheelbarrow")).to_have_count(0)
    page.click("text=Remove all")
    expect(page.locator("#ranking .ad")).to_have_count(0)
    expect(page.locator("#summary")).to_contain_text("Add candidates")


def test_an_ad_that_the_model_does_not_know_is_a_candidate_too(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    search = page.get_by_label("Add a candidate")
    search.fill("<b>brand new</b>")
    page.locator("#add-candidate .results button").last.click()
    expect(page.locator("#ranking .ad").filter(has_text="<b>brand new</b>")).to_have_count(1)  # as text
    assert page.locator("#ranking b").count() == 0


def test_the_map_has_the_answers_weights_and_a_hobbys_own_behaviours_light_up(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    expected = answer(shop, explain=True)["ads"]
    weights = page.locator(".heat tr").evaluate_all(
        "lines => lines.map(line => [...line.querySelectorAll('td')].map(cell => Number(cell.textContent)))"
    )
    assert len(weights) == len(expected)
    for line, ad in zip(weights, expected, strict=True):
        assert line == pytest.approx([each["weight"] for each in ad["activation_weights"]], abs=6e-4)
    # What the network learnt: a behaviour counts most for ads of its own hobby.
    hobbies = {ad["ad_id"][:2] for ad in expected}
    of_user = {each["item_id"][:2] for each in expected[0]["activation_weights"]} & hobbies
    assert of_user
    for hobby in of_user:
        ad = next(ad for ad in expected if ad["ad_id"].startswith(hobby))
        own = [each["weight"] for each in ad["activation_weights"] if each["item_id"].startswith(hobby)]
        others = [each["weight"] for each in ad["activation_weights"] if not each["item_id"].startswith(hobby)]
        assert sum(own) / len(own) > sum(others) / len(others)


def test_the_selected_ads_weights_colour_the_users_behaviours(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    page.get_by_role("button", name="Swimming goggles sw1").click()
    expect(page.locator("#ranking .ad.selected .title")).to_have_text("Swimming goggles")
    settled(page)
    [ad] = [ad for ad in answer(shop, explain=True)["ads"] if ad["ad_id"] == "sw1"]
    shown = page.locator("#behaviours li").evaluate_all("rows => rows.map(row => Number(row.dataset.weight))")
    assert shown == pytest.approx([each["weight"] for each in reversed(ad["activation_weights"])], abs=6e-4)
    because = page.locator("#ranking .ad.selected .because").text_content()
    names = Counter(TITLES[each["item_id"]] for each in ad["strongest"])
    shown_names = [name if count == 1 else f"{name} ×{count}" for name, count in names.items()]
    assert because == f"most activated: {' · '.join(shown_names)}"


def test_the_map_is_read_by_keyboard(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    newest = shop.user(SWIMMER)["behaviours"][-1]["item_id"]
    first, second = expected_titles(answer(shop))[:2]
    page.locator('.heat td[tabindex="0"]').focus()
    expect(page.locator("#reading")).to_contain_text(f"{first}: “{TITLES[newest]}”, the newest behaviour, has weight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#reading")).to_contain_text(f"{second}: “{TITLES[newest]}”")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#reading")).to_contain_text("1 before the newest")
    assert page.locator('.heat td[tabindex="0"]').count() == 1


def test_a_behaviour_that_is_added_is_stored_and_moves_the_ranking(page: Page, shop: Shop) -> None:
    user = "u11"
    open_page(page, shop, user=user)
    before = shop.user(user)["behaviours"]
    ctr_before = {ad["ad_id"]: ad["ctr"] for ad in answer(shop, user=user)["ads"]}
    page.get_by_label("Add a behaviour").fill("secateurs")
    page.locator("#add-behaviour .results button").first.click()
    expect(page.locator("#behaviours li .title").first).to_have_text("Secateurs")
    after = shop.user(user)["behaviours"]
    assert [each["item_id"] for each in after][-1] == "ga1"
    assert after[-1]["timestamp"] > before[-1]["timestamp"]
    settled(page)
    now = answer(shop, user=user)
    assert {ad["ad_id"]: ad["ctr"] for ad in now["ads"]} != ctr_before
    assert titles(page.locator("#ranking")) == expected_titles(now)


def test_reserve_price_second_prices_and_context_are_the_requests(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    page.click("text=Auction and context")
    page.get_by_label("Reserve price").fill("0.55")
    page.get_by_label("Second prices").check()
    page.get_by_label("device").fill("phone")
    expect(page.locator("#summary")).to_contain_text("2 below the reserve price")
    settled(page)
    expected = answer(shop, reserve_price=0.55, second_prices=True, context={"device": "phone"})["ads"]
    found = [row for row in rows(page.locator("#ranking")) if row["rank"] != "–"]
    assert [float(row["pays"]) for row in found] == pytest.approx([ad["price"] for ad in expected], abs=5e-5)
    assert page.locator("#ranking .left-out").count() == 2


def test_two_models_are_seen_side_by_side(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    page.get_by_label("Compare with").select_option(shop.challenger)
    expect(page.locator("#other-title")).to_have_text(f"base {shop.challenger}")
    settled(page)
    assert titles(page.locator("#other-ranking")) == expected_titles(answer(shop, model=shop.challenger))
    assert titles(page.locator("#ranking")) == expected_titles(answer(shop, model=shop.champion))
    expect(page.locator("#heat-maps")).to_contain_text(f"base {shop.challenger} has no activation weights")


def test_a_page_that_is_sent_on_shows_the_same(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    page.get_by_label("Exact bid for Trowel").fill("3.25")
    settled(page)
    expected = rows(page.locator("#ranking"))
    page.goto("about:blank")
    page.go_back()
    page.wait_for_selector("html[data-ready]")
    settled(page)
    assert rows(page.locator("#ranking")) == expected


def test_everything_is_reached_by_the_tabulator_key(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    seen = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        seen |= set(
            page.evaluate(
                """[document.activeElement].flatMap(
                     each => [each.getAttribute("aria-label"), each.id, each.textContent.trim()])"""
            )
        )
    assert {
        "Skip to the ranking",
        "user-id",
        "Show",
        "behaviour",
        "candidate",
        "20 random",
        "Remove all",
        "theme",
    } <= seen
    assert {"Bid for Trowel", "Exact bid for Trowel", "Remove Trowel"} <= seen


def test_every_control_has_a_name(page: Page, shop: Shop) -> None:
    open_page(page, shop)
    nameless = page.locator("input, select, button").evaluate_all(
        """all => all.filter(each => !(each.labels?.length || each.getAttribute("aria-label")
             || (each.tagName === "BUTTON" && each.textContent.trim()))).map(each => each.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [360, 768])
def test_a_small_screen_shows_it_all_without_scrolling_sideways(page: Page, shop: Shop, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, shop)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for row in page.locator("#ranking .ad").all():
        box = row.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_light_and_dark_follow_the_system_and_can_be_switched(page: Page, shop: Shop) -> None:
    def luminance() -> float:
        red, green, blue = map(
            int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    page.emulate_media(color_scheme="dark")
    open_page(page, shop)
    assert luminance() < 60
    page.get_by_label("Switch between light and dark").click()
    assert luminance() > 200
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert luminance() > 200


def test_another_bundle_that_is_swapped_in_is_what_ranks_next(
    browser: Browser, shop_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(shop_bundle)
    with served(tmp_path, link) as service, browser.new_page() as page:
        page.goto(f"{service.address}/#ads=sw1:1")
        expect(page.locator("#summary")).to_contain_text("1 ads ranked on 0 behaviours")
        expect(page.locator("#user-id")).to_have_value("nobody")  # as the store is empty
        new = tmp_path / "new"
        new.symlink_to(other_bundle)
        new.replace(link)
        reloaded = httpx.post(f"{service.address}/admin/reload", headers=service.admin(), timeout=30)
        assert reloaded.json()["outcome"] == "swapped"
        page.get_by_label("Exact bid for Swimming goggles").fill("0.5")
        expect(page.locator("#model")).to_contain_text("base")
        expect(page.locator("#ranking dd").last).not_to_have_text("")
        expect(page.locator("#heat-maps")).to_contain_text("has no activation weights")


def test_a_service_with_keys_asks_for_one(browser: Browser, shop_bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-more-than-enough-characters-0123456789")
    with served(tmp_path, shop_bundle, DINRANK_API_KEYS_FILE=str(keys)) as service, browser.new_page() as page:
        page.goto(f"{service.address}/#user=nobody&ads=sw1:1")
        expect(page.locator("#key-form")).to_be_visible()
        page.get_by_label("This service wants a key").fill(keys.read_text())
        page.keyboard.press("Enter")
        expect(page.locator("#summary")).to_contain_text("1 ads ranked on 0 behaviours")
        expect(page.locator("#key-form")).to_be_hidden()


def test_pictures_for_the_documents(page: Page, shop: Shop, pictures: Path) -> None:
    ads = {**ADS, "sw5": 0.45, "cl4": 0.5, "co5": 0.35, "cy2": 0.55}
    open_page(page, shop, ads=ads)
    page.get_by_role("button", name="Swimming goggles sw1").click()
    settled(page)
    page.screenshot(path=pictures / "playground.png", full_page=True)
    page.get_by_label("Switch between light and dark").click()
    page.set_viewport_size({"width": 390, "height": 844})
    settled(page)
    page.screenshot(path=pictures / "playground-phone.png")
    assert all((pictures / name).stat().st_size > 20_000 for name in ("playground.png", "playground-phone.png"))
