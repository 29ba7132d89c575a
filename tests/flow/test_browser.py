"""The whole way in a real browser: log in, invite, read, report, export; and WCAG 2.2 AA by axe.

With FLOW_SCREENSHOTS set to a folder, the pages are photographed into it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail
from django.core.cache import cache
from playwright.sync_api import Browser, Page, expect, sync_playwright

from flow import demo_data
from flow.models import Customer, Role, Site, User

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(400),  # a browser on a busy machine is slow, and that is no fault
]
expect.set_options(timeout=30_000)

CHROMIUM = "/usr/bin/chromium"
WORDS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
PASSWORD = "seven quiet lamps"
SEND = "main button:not([type=button])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright keeps an event loop in this thread
    if not Path(CHROMIUM).exists():
        pytest.fail("chromium is missing: apt-get install chromium (docs/flow/development.md)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=WORDS)
        yield started
        started.close()


@pytest.fixture
def served(live_server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(demo_data, "DAYS", 65)
    settings.BASE_URL = live_server.url
    cache.clear()
    customer = Customer.objects.create(
        name="Nordlys", contact="privacy@example.com", second_factor="nobody"
    )
    demo_data.fill(customer)
    User.objects.create_user(
        "boss@example.com", PASSWORD, name="Kari", customer=customer, role=Role.ADMINISTRATOR
    )
    return str(live_server.url)


def opened(browser: Browser, address: str, **how: Any) -> tuple[Page, list[str]]:
    """A page and what it complained about."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, **how).new_page()
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(address)
    return page, trouble


def log_in(page: Page, email: str) -> None:
    page.fill("input[name=login]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click(SEND)
    page.wait_for_url(re.compile(r"/(\?|$)"))


def photograph(page: Page, name: str) -> None:
    folder = os.environ.get("FLOW_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page, options=RULES).response["violations"]
    assert not found, [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found]


def test_from_the_invitation_to_the_exported_report(browser: Browser, served: str) -> None:
    page, trouble = opened(browser, served)
    assert "/account/login/" in page.url
    assert_accessible(page)
    log_in(page, "boss@example.com")
    assert page.inner_text(".tile.first .figure").replace(",", "").isdigit()
    assert "Malmö Central" in page.inner_text(".panel.site")

    page.click("nav >> text=People")
    page.click("text=Invite somebody")
    page.fill("input[name=email]", "viewer@example.com")
    page.check("text=København, Strøget")
    page.click(SEND)
    page.wait_for_selector("text=Invitation sent")
    link = next(word for word in mail.outbox[-1].body.split() if "/welcome/" in word)

    guest, guest_trouble = opened(browser, link)
    assert_accessible(guest)
    guest.fill("input[name=name]", "Per")
    guest.fill("input[name=password]", PASSWORD)
    guest.click(".reveal")
    assert guest.get_attribute("input[name=password]", "type") == "text"
    assert_accessible(guest)
    guest.click(SEND)
    guest.wait_for_selector(".tiles")
    text = guest.inner_text("body")
    assert "København" in text and "Oslo" not in text and "Malmö" not in text
    assert guest.locator("nav a").all_inner_texts() == ["Overview", "Reports"]

    guest.click("nav >> text=Reports")
    guest.select_option("#f-split", "age")
    guest.select_option("#f-period", "28d")
    guest.click(".builder button")
    guest.wait_for_selector("th >> text=35–44")
    for form, magic in (("CSV", b"\xef\xbb\xbf"), ("Excel", b"PK"), ("PDF", b"%PDF")):
        with guest.expect_download() as download:
            guest.click(f"a >> text={form}")
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(magic) and len(content) > 200
    guest.fill("#s-name", "Ages")
    guest.click("text=Save")
    guest.wait_for_selector("text=Change, send")
    assert not trouble and not guest_trouble


def test_filters_stack_in_the_address_and_come_back(browser: Browser, served: str) -> None:
    page, trouble = opened(browser, served)
    log_in(page, "boss@example.com")
    page.keyboard.press("m")
    page.wait_for_url("**period=28d**")
    before = page.inner_text(".tile.first .figure")
    page.click(".panel.gender >> text=Women")
    page.wait_for_url("**gender=female**")
    page.wait_for_selector(".chips")
    page.click(".panel.age >> text=25–34")
    page.wait_for_url("**gender=female**age=25-34**")
    expect(page.locator(".chips li")).to_have_count(3)
    filtered = page.inner_text(".tile.first .figure")
    assert filtered != before
    address = page.url
    page.go_back()
    expect(page.locator(".chips li")).to_have_count(2)
    page.reload()
    again, _ = opened(browser, address, storage_state=page.context.storage_state())
    assert again.inner_text(".tile.first .figure") == filtered
    page.keyboard.press("x")
    expect(page.locator(".chips")).to_have_count(0)
    assert page.inner_text(".tile.first .figure") == before
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.check("#keys-off")
    page.keyboard.press("Escape")
    page.keyboard.press("y")
    page.wait_for_timeout(300)
    assert "12mo" not in page.url
    assert not trouble


def test_new_visitors_appear_without_a_reload(browser: Browser, served: str) -> None:
    from datetime import datetime

    from tests.flow.visits import presence, put

    page, trouble = opened(browser, served)
    log_in(page, "boss@example.com")
    before = int(page.inner_text(".tile.first .figure").replace(",", ""))
    page.evaluate("window.same = true")
    site = Site.objects.get(slug="oslo")
    today = datetime.now(site.zone).date()
    put(site, today, hour=datetime.now(site.zone).hour, women=7)
    sensor = site.sensors.get(name="Main entrance")
    presence(sensor, today, records=10_000, first=1, last=10_000)
    figure = page.locator(".tile.first .figure")
    expect(figure).to_have_text(f"{before + 7:,}", timeout=15_000)
    assert page.evaluate("window.same")
    assert not trouble


PAGES = {
    "overview": "/?period=28d",
    "overview-filtered": "/?period=28d&gender=female&shares=corrected",
    "report": "/reports?split=site&per=hour&period=last-month",
    "fleet": "/sensors",
    "sensor": "/sensors/demo-oslo-1",
    "people": "/people",
    "invite": "/people/invite",
    "sites": "/sites",
    "site": "/sites/oslo",
    "log": "/log",
    "tokens": "/tokens",
    "two-factor": "/account/2fa/",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_passes_wcag_22_aa(browser: Browser, served: str, scheme: str) -> None:
    page, trouble = opened(browser, served, color_scheme=scheme)
    log_in(page, "boss@example.com")
    public = Site.objects.get(slug="oslo").public
    notices = {"notice": f"/notice/{public}/en", "sign": f"/notice/{public}/nb/sign"}
    for name, path in {**PAGES, **notices}.items():
        page.goto(served + path)
        assert_accessible(page)
        photograph(page, f"{name}-{scheme}")
    assert not trouble


def test_the_overview_fits_a_phone(browser: Browser, served: str) -> None:
    page, _ = opened(browser, served)
    log_in(page, "boss@example.com")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/?period=7d", "/reports", "/sensors"):
        page.goto(served + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, path
    page.goto(served + "/?period=7d")
    assert_accessible(page)
    photograph(page, "overview-phone")


def test_the_keyboard_reaches_a_filter_and_stays_there(browser: Browser, served: str) -> None:
    page, _ = opened(browser, served + "/?period=28d")
    log_in(page, "boss@example.com")
    page.goto(served + "/?period=28d")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText || ''").startswith("Women"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**gender=female**")
    page.wait_for_selector(".chips")
    assert page.evaluate("document.activeElement.tagName") == "A"


def test_the_api_page_works_under_the_content_security_policy(
    browser: Browser, served: str
) -> None:
    page, trouble = opened(browser, served + "/api/v1/docs")
    page.wait_for_selector('[data-path="/api/v1/report"]', timeout=15_000)
    assert not [line for line in trouble if "script" in line.lower()]
