"""Every view, for every role, and for what belongs to somebody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, URLResolver

from flow.models import (
    ApiToken,
    AuditEntry,
    Customer,
    Invitation,
    Report,
    Role,
    Schedule,
    Sensor,
    Site,
    User,
)
from flow.urls import urlpatterns
from tests.flow.visits import put

ALL, MANAGERS, ADMINISTRATORS = {"viewer", "manager", "administrator"}, {
    "manager", "administrator"}, {"administrator"}  # fmt: skip
ROLES = ("viewer", "manager", "administrator")

VIEWS: dict[str, tuple[str, set[str]]] = {
    "overview": ("/", ALL),
    "pulse": ("/pulse", ALL),
    "reports": ("/reports", ALL),
    "export": ("/reports/export.csv", ALL),
    "report": ("/reports/{report}", ALL),
    "report-edit": ("/reports/{report}/edit", ALL),
    "tokens": ("/tokens", ALL),
    "sites": ("/sites", MANAGERS),
    "site": ("/sites/oslo", MANAGERS),
    "site-add": ("/sites/add", ADMINISTRATORS),
    "fleet": ("/sensors", ADMINISTRATORS),
    "sensor": ("/sensors/mine", ADMINISTRATORS),
    "sensor-add": ("/sensors/add", ADMINISTRATORS),
    "people": ("/people", ADMINISTRATORS),
    "invite": ("/people/invite", ADMINISTRATORS),
    "person": ("/people/{person}", ADMINISTRATORS),
    "audit": ("/log", ADMINISTRATORS),
}
PUBLIC = {"notice", "notice-language", "sign", "health", "welcome"}
POST_ONLY = {"report-save", "report-schedule", "withdraw"}


@pytest.fixture
def world(
    site: Site, other_site: Site, foreign_site: Site, person: Callable[..., User],
    stranger: Customer,
) -> dict[str, Any]:  # fmt: skip
    users = {role: person(role, site) for role in ROLES}
    Sensor.objects.create(device="mine", name="mine", site=site, certificates="")
    Sensor.objects.create(device="theirs", name="theirs", site=foreign_site, certificates="")
    foreign = person(Role.ADMINISTRATOR, of=stranger)
    return {
        "users": users,
        "foreign": foreign,
        "reports": {
            role: Report.objects.create(customer=site.customer, owner=user, name=role, query="")
            for role, user in users.items()
        },
        "foreign_report": Report.objects.create(
            customer=stranger, owner=foreign, name="x", query="", shared=True
        ),
    }


def test_every_view_stands_in_this_file() -> None:
    """A new view without a line here is a view whose rights nobody has thought about."""
    names = {p.name for p in urlpatterns if isinstance(p, URLPattern) and p.name}
    assert names == set(VIEWS) | PUBLIC | POST_ONLY
    resolvers = {str(p.pattern) for p in urlpatterns if isinstance(p, URLResolver)}
    assert resolvers == {"account/", "api/v1/"}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("role", [*ROLES, "nobody"])
def test_a_view_opens_for_its_roles_only(
    name: str, role: str, world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    path, roles = VIEWS[name]
    report = world["reports"].get(role) or world["reports"]["viewer"]
    path = path.format(report=report.pk, person=world["users"]["viewer"].pk)
    if role == "nobody":
        answer = Client().get(path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/account/login/")
        return
    answer = browse(world["users"][role]).get(path)
    expected = (302 if name == "report" else 200) if role in roles else 403
    assert answer.status_code == expected
    if role in roles:
        assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "path",
    ["/sites/elsewhere", "/sensors/theirs", "/people/{foreign}", "/reports/{report}",
     "/reports/{report}/edit"],
)  # fmt: skip
def test_what_belongs_to_another_customer_does_not_exist(
    role: str, path: str, world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    path = path.format(foreign=world["foreign"].pk, report=world["foreign_report"].pk)
    for send in ("get", "post"):
        answer = getattr(browse(world["users"][role]), send)(path)
        assert answer.status_code in (403, 404)
        assert b"theirs" not in answer.content and b"Elsewhere" not in answer.content


@pytest.mark.parametrize("role", ["viewer", "manager"])
def test_a_site_that_was_not_granted_does_not_exist(
    role: str, world: dict[str, Any], other_site: Site, browse: Callable[[User], Client]
) -> None:
    client = browse(world["users"][role])
    put(other_site, date.today(), women=4321)
    assert client.get("/sites/bergen").status_code in (403, 404)
    for path in (
        "/?site=bergen",
        "/reports?site=bergen&period=7d",
        "/reports/export.csv?site=bergen",
    ):
        content = client.get(path).content
        assert b"Bergen" not in content and b"4,321" not in content and b"4321" not in content


def test_what_only_takes_posts_refuses_to_be_read(
    world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    client = browse(world["users"]["administrator"])
    number = world["reports"]["administrator"].pk
    for path in ("/reports/save", f"/reports/{number}/schedule", "/people/invitation/1/withdraw"):
        assert client.get(path).status_code == 405


@pytest.mark.parametrize("path", ["/reports/save", "/people/invite", "/tokens", "/sites/oslo"])
def test_a_form_without_its_token_is_refused(path: str, world: dict[str, Any]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world["users"]["administrator"])
    answer = client.post(path, {"name": "x"})
    assert answer.status_code == 403
    assert "too old" in answer.content.decode()


def test_an_invited_viewer_sees_the_one_site(
    world: dict[str, Any], site: Site, other_site: Site, browse: Callable[[User], Client]
) -> None:
    boss = browse(world["users"]["administrator"])
    form = {"email": "New@Example.com", "role": "viewer", "sites": [site.pk]}
    assert boss.post("/people/invite", form).status_code == 302
    link = next(word for word in mail.outbox[0].body.split() if "/welcome/" in word)
    path = link[link.index("/welcome/") :]
    guest = Client()
    assert guest.get(path).headers["Referrer-Policy"] == "same-origin"  # the address is the secret
    weak = guest.post(path, {"name": "New", "password": "password1234"})
    assert b"too common" in weak.content
    good = {"name": "New", "password": "seven quiet lamps"}
    assert guest.post(path, good).status_code == 302
    page = guest.get("/").content.decode()
    assert "Oslo" in page and "Bergen" not in page
    assert Client().get(path).status_code == 404  # a link works once
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"user_invited", "invitation_accepted", "logged_in"} <= actions


def test_an_administrator_cannot_hand_out_another_customers_site(
    world: dict[str, Any], foreign_site: Site, browse: Callable[[User], Client]
) -> None:
    boss = browse(world["users"]["administrator"])
    form = {"email": "a@b.example", "role": "viewer", "sites": [foreign_site.pk]}
    assert boss.post("/people/invite", form).status_code == 200
    assert not Invitation.objects.exists()
    boss.post(f"/people/{world['users']['viewer'].pk}", {**form, "is_active": "on"})
    assert foreign_site not in world["users"]["viewer"].sites.all()


def test_nobody_changes_their_own_rights(
    world: dict[str, Any], site: Site, browse: Callable[[User], Client]
) -> None:
    me = world["users"]["administrator"]
    form = {"role": "viewer", "sites": [site.pk], "is_active": "on"}
    answer = browse(me).post(f"/people/{me.pk}", form)
    assert answer.status_code == 200
    me.refresh_from_db()
    assert me.role == "administrator"


def test_who_is_shut_out_is_out_at_once(
    world: dict[str, Any], site: Site, browse: Callable[[User], Client]
) -> None:
    viewer = world["users"]["viewer"]
    client = browse(viewer)
    token = ApiToken.issue(days=1, user=viewer, name="x")[1]
    assert client.get("/").status_code == 200
    form = {"role": "viewer", "sites": [site.pk]}
    browse(world["users"]["administrator"]).post(f"/people/{viewer.pk}", form)
    assert client.get("/").status_code == 302
    headers = {"Authorization": f"Bearer {token}"}
    assert Client(headers=headers).get("/api/v1/sites").status_code == 401


def test_a_shared_report_shows_what_its_reader_may_see(
    world: dict[str, Any], site: Site, other_site: Site, browse: Callable[[User], Client]
) -> None:
    report = world["reports"]["administrator"]
    viewer = browse(world["users"]["viewer"])
    assert viewer.get(f"/reports/{report.pk}").status_code == 404
    Report.objects.filter(pk=report.pk).update(shared=True, query="site=bergen&period=7d")
    page = viewer.get(f"/reports/{report.pk}", follow=True).content.decode()
    assert "Bergen" not in page


def test_viewers_neither_share_nor_schedule(
    world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    client = browse(world["users"]["viewer"])
    number = world["reports"]["viewer"].pk
    client.post(f"/reports/{number}/edit", {"name": "viewer", "shared": "on"})
    assert not Report.objects.get(pk=number).shared
    form = {"every": "day", "form": "pdf", "recipients": [world["users"]["viewer"].pk]}
    assert client.post(f"/reports/{number}/schedule", form).status_code == 404
    assert not Schedule.objects.exists()


def test_a_schedule_goes_to_people_of_the_same_customer_only(
    world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    client = browse(world["users"]["manager"])
    number = world["reports"]["manager"].pk
    form = {"every": "day", "form": "pdf", "recipients": [world["foreign"].pk]}
    client.post(f"/reports/{number}/schedule", form)
    assert not Schedule.objects.exists()
    form["recipients"] = [world["users"]["viewer"].pk]
    client.post(f"/reports/{number}/schedule", form)
    assert Schedule.objects.get().recipients.get() == world["users"]["viewer"]


@pytest.mark.parametrize("role", ROLES)
def test_the_api_has_the_rights_of_the_tokens_user(
    role: str, world: dict[str, Any], site: Site, other_site: Site
) -> None:
    token = ApiToken.issue(days=1, user=world["users"][role], name="x")[1]
    client = Client(headers={"Authorization": f"Bearer {token}"})
    slugs = {one["slug"] for one in client.get("/api/v1/sites").json()}
    assert slugs == ({"oslo", "bergen"} if role == "administrator" else {"oslo"})
    assert client.get("/api/v1/report?site=elsewhere").status_code == 404
    expected = 200 if role == "administrator" else 404
    assert client.get("/api/v1/report?site=bergen").status_code == expected
    sensors = client.get("/api/v1/sensors")
    assert sensors.status_code == (200 if role == "administrator" else 403)
    assert b"theirs" not in sensors.content


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer x", "Basic eA==", "Bearer é"])
def test_the_api_refuses_without_a_token(header: str, db: None) -> None:
    client = Client(headers={"Authorization": header.encode().decode("latin-1")})
    for path in ("/api/v1/sites", "/api/v1/report", "/api/v1/sensors"):
        assert client.get(path).status_code == 401


def test_the_session_does_not_open_the_api(
    world: dict[str, Any], browse: Callable[[User], Client]
) -> None:
    """Cookies would make it open to forged requests."""
    assert browse(world["users"]["administrator"]).get("/api/v1/sites").status_code == 401


@pytest.fixture
def one_moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All requests fall into the same minute and hour, and into empty counters."""
    now = time.time()
    monkeypatch.setattr("flow.limits.time.time", lambda: now)
    cache.clear()
    yield
    cache.clear()


@pytest.mark.parametrize(
    ("path", "form", "amount"),
    [
        ("/people/invite", {}, 30),
        ("/welcome/nobody-knows-this", {"password": "guess"}, 20),
        ("/reports/export.csv", None, 60),
    ],
)
def test_what_costs_or_can_be_guessed_is_limited(
    path: str, form: dict[str, str] | None, amount: int, world: dict[str, Any], one_moment: None
) -> None:
    client = Client()
    client.force_login(world["users"]["administrator"])
    codes = [
        (client.get(path) if form is None else client.post(path, form)).status_code
        for _ in range(amount + 1)
    ]
    assert 429 not in codes[:-1] and codes[-1] == 429


def test_a_person_who_is_limited_hinders_nobody_else(
    world: dict[str, Any], browse: Callable[[User], Client], one_moment: None
) -> None:
    viewer = browse(world["users"]["viewer"])
    assert [viewer.get("/reports/export.csv").status_code for _ in range(61)][-1] == 429
    assert browse(world["users"]["manager"]).get("/reports/export.csv").status_code == 200
