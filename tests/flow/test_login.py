"""Logging in, being locked out, the second factor, and what every answer carries."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.conf import settings
from django.core import mail
from django.test import Client
from django.utils import timezone

from flow.models import AuditEntry, Customer, Role, Site, User
from flow.models.people import ApiToken, Invitation

LOGIN = "/account/login/"
GOOD = "correct horse battery"


def log_in(client: Client, email: str, password: str = GOOD) -> Any:
    return client.post(LOGIN, {"login": email, "password": password})


def test_the_right_password_opens_and_is_logged(person: Callable[..., User], site: Site) -> None:
    user = person(Role.VIEWER, site)
    client = Client()
    assert log_in(client, user.email.upper()).headers["Location"] == "/"
    assert client.get("/").status_code == 200
    entry = AuditEntry.objects.get(action="logged_in")
    assert (entry.actor, entry.address) == (user.email, "127.0.0.1")


def test_five_wrong_passwords_lock_the_account_out(person: Callable[..., User], site: Site) -> None:
    user = person(Role.VIEWER, site)
    client = Client()
    for _ in range(5):
        assert log_in(client, user.email, "wrong horse battery").status_code == 200
    answer = log_in(client, user.email)
    assert answer.status_code == 200 and b"Too many failed" in answer.content
    assert AuditEntry.objects.filter(action="login_failed").count() == 5


def test_a_wrong_password_and_an_unknown_address_look_alike(
    person: Callable[..., User], site: Site
) -> None:
    user = person(Role.VIEWER, site)
    pages = [
        re.sub(r'value="[^"]*"', "", log_in(Client(), email, "wrong").content.decode())
        for email in (user.email, "nobody@example.com")
    ]
    assert pages[0] == pages[1]
    client = Client()
    for email in (user.email, "nobody@example.com"):
        answer = client.post("/account/password/reset/", {"email": email})
        assert answer.headers["Location"] == "/account/password/reset/done/"


def test_a_forgotten_password_is_set_anew_once(person: Callable[..., User], site: Site) -> None:
    user = person(Role.VIEWER, site)
    client = Client()
    client.post("/account/password/reset/", {"email": user.email})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word)
    path = link[link.index("/account") :]
    form_path = client.get(path).headers["Location"]
    new = {"password1": "seven quiet lamps", "password2": "seven quiet lamps"}
    assert client.post(form_path, new).status_code == 302
    assert log_in(Client(), user.email).status_code == 200  # the old one
    assert log_in(Client(), user.email, "seven quiet lamps").status_code == 302
    assert b"password1" not in Client().get(path, follow=True).content  # a link works once
    assert AuditEntry.objects.filter(action="password_changed").exists()


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("rule", list(Customer.SecondFactor))
def test_who_must_have_a_second_factor_sees_nothing_without_it(
    role: str, rule: str, person: Callable[..., User], site: Site
) -> None:
    Customer.objects.update(second_factor=rule)
    user = person(role, site)
    client = Client()
    log_in(client, user.email)
    must = rule == "everyone" or (rule == "administrators" and role == "administrator")
    answer = client.get("/")
    assert answer.status_code == (302 if must else 200)
    token = ApiToken.issue(days=1, user=user, name="x")[1]
    api = client.get("/api/v1/sites", headers={"Authorization": f"Bearer {token}"})
    assert (api.status_code == 200) is not must


def test_the_second_factor_is_asked_for(person: Callable[..., User], site: Site) -> None:
    user = person(Role.ADMINISTRATOR)
    secret = "JBSWY3DPEHPK3PXP"
    TOTP.activate(user, secret)
    client = Client()
    answer = log_in(client, user.email)
    assert "/2fa/authenticate" in answer.headers["Location"]
    assert client.get("/").status_code == 302  # not in yet
    wrong = client.post("/account/2fa/authenticate/", {"code": "000000"})
    assert wrong.status_code == 200
    step = int(timezone.now().timestamp()) // 30
    code = format_hotp_value(hotp_value(secret, step))
    assert client.post("/account/2fa/authenticate/", {"code": code}).status_code == 302
    assert client.get("/").status_code == 200
    again = Client()
    log_in(again, user.email)
    used = again.post("/account/2fa/authenticate/", {"code": code})
    assert used.status_code == 200  # a code works once
    assert Authenticator.objects.filter(user=user).exists()


def test_nobody_signs_up_by_themselves(db: None) -> None:
    assert Client().get("/account/signup/").status_code == 404
    assert Client().post("/account/signup/", {"email": "a@b.example"}).status_code == 404


def test_logging_out_ends_the_session(person: Callable[..., User], site: Site) -> None:
    user = person(Role.VIEWER, site)
    client = Client()
    log_in(client, user.email)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    client.post("/account/logout/")
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = cookie
    assert thief.get("/").status_code == 302


def test_the_session_changes_at_login(person: Callable[..., User], site: Site) -> None:
    user = person(Role.VIEWER, site)
    client = Client()
    client.get(LOGIN)
    before = client.cookies[settings.SESSION_COOKIE_NAME].value
    log_in(client, user.email)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie.value != before
    assert cookie["httponly"] and cookie["samesite"] == "Lax"


def test_every_answer_carries_the_protections(person: Callable[..., User], site: Site) -> None:
    client = Client()
    client.force_login(person(Role.ADMINISTRATOR, site))
    for path in ("/", "/people", "/account/2fa/", f"/notice/{site.public}/en", "/nowhere"):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        body = answer.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", body)
        assert not re.search(r'\s(style|on\w+)="', body)


@pytest.mark.parametrize("kind", [Invitation, ApiToken])
def test_a_secret_ends_on_its_day_and_is_not_stored(
    kind: Any, person: Callable[..., User], customer: Customer
) -> None:
    user = person()
    fields: dict[str, Any] = {"user": user, "name": "x"}
    if kind is Invitation:
        fields = {"email": "a@b.example", "customer": customer, "role": "viewer"}
        fields["invited_by"] = user
    made, token = kind.issue(days=1, **fields)
    assert kind.valid(token) == made
    assert token not in repr(kind.objects.values().get())
    kind.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert kind.valid(token) is None


def test_an_error_says_nothing_about_its_cause(
    person: Callable[..., User], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the database's password is hunter2")

    monkeypatch.setattr("flow.web.overview.overview", broken)
    client = Client(raise_request_exception=False)
    client.force_login(person(Role.VIEWER, site))
    answer = client.get("/")
    assert answer.status_code == 500 and b"hunter2" not in answer.content


def test_another_host_name_is_refused(db: None) -> None:
    assert Client().get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert Client().get("/healthz").content == b"ok"
