"""Pages of somebody else in a real browser on the service's machine, and the service's own documents page."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import FLAGS, chromium
from tests.fixtures.bundle import make_bundle
from tests.fixtures.command import Served, served

EVENT = {"event_id": "e1", "user_id": "1", "item_id": "1", "timestamp": 1}
_ASK = """async ([method, url, body, type]) => {
    const sent = body === null ? {} : {body, headers: {"Content-Type": type}};
    try {
        const answer = await fetch(url, {method, ...sent});
        return [answer.status, await answer.text()];
    } catch (error) {
        return ["unreadable", String(error)];
    }
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As somebody starts it who has set nothing."""
    directory = tmp_path_factory.mktemp("foreign")
    with served(directory, make_bundle(directory / "bundle")) as running:
        yield running


@pytest.fixture(scope="module")
def misled() -> Iterator[Browser]:
    """A browser for which evil.test is 127.0.0.1, as its owner can arrange it."""
    with sync_playwright() as playwright:
        # This browser's own defence is off, as others have none.
        of_browser = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        flags = [*FLAGS, "--host-resolver-rules=MAP evil.test 127.0.0.1", of_browser]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


def opened(browser: Browser, url: str) -> Page:
    """A page without any policy, at a URL that nobody has to serve.

    Such a page's requests are sent without a preflight, so what browsers keep back is the service's to refuse.
    """
    page = browser.new_page()
    page.route(url, lambda route: route.fulfill(body="<title>a page</title>", content_type="text/html"))
    page.goto(url)
    return page


def asked(page: Page, method: str, url: str, body: str | None = None, type_: str = "application/json") -> Any:
    status, text = page.evaluate(_ASK, [method, url, body, type_])
    return status, text


def test_a_page_whose_name_was_made_to_mean_this_machine_reads_and_writes_nothing(
    service: Served, misled: Browser
) -> None:
    port = service.address.rpartition(":")[2]
    with opened(misled, f"http://evil.test:{port}/attack") as page:
        for path in ("/", "/users/1", "/metrics", "/model", "/livez", "/playground/users"):
            status, text = asked(page, "GET", path)
            assert (status, "urn:dinrank:problem:forbidden" in text) == (403, True), path
        events = f'{{"events": [{str(EVENT).replace(chr(39), chr(34))}]}}'
        assert asked(page, "POST", "/behaviours", events)[0] == 403
        assert asked(page, "DELETE", "/users/1")[0] == 403
    own = misled.new_page()
    own.goto(f"{service.address}/")
    assert asked(own, "GET", "/users/1")[0] == 404  # nothing was stored, and the service's own page may ask
    own.close()


def test_a_page_of_another_site_writes_nothing_by_requests_that_need_no_leave(service: Served, misled: Browser) -> None:
    events = f'{{"events": [{str(EVENT).replace(chr(39), chr(34))}]}}'
    with opened(misled, "http://evil.test:1/attack") as page:
        for type_ in ("text/plain", "application/json"):
            assert asked(page, "POST", f"{service.address}/behaviours", events, type_)[0] == "unreadable"
        assert asked(page, "GET", f"{service.address}/metrics")[0] == "unreadable"
    own = misled.new_page()
    own.goto(f"{service.address}/")
    assert asked(own, "GET", "/users/1")[0] == 404
    own.close()


def test_the_documents_page_works_under_its_policy_and_in_no_frame(service: Served, misled: Browser) -> None:
    page = misled.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(f"{service.address}/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    page.locator("#operations-default-livez_livez_get .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert complaints == []
    page.close()
    with opened(misled, f"{service.address}/frame") as framing:
        framing.set_content(f'<iframe src="{service.address}/docs"></iframe>')
        framing.wait_for_timeout(500)
        assert all("Swagger" not in frame.content() for frame in framing.frames)
