"""Who may do what: roles, the second factor, and what every page is told about its user."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from flow.models import Customer, Role, User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]
GetResponse = Callable[[HttpRequest], HttpResponse]


def requires(*roles: Role) -> Callable[[View[P]], View[P]]:
    """The view is for logged-in users of these roles; without any, for every logged-in user."""

    def guard(view: View[P]) -> View[P]:
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            assert isinstance(request.user, User)
            if roles and request.user.role not in roles:
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.roles = roles  # type: ignore[attr-defined]
        return guarded

    return guard


def user_of(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts come into being through invitations only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


def must_add_second_factor(user: User) -> bool:
    rule = user.customer.second_factor
    asked = rule == Customer.SecondFactor.EVERYONE or (
        rule == Customer.SecondFactor.ADMINISTRATORS and user.is_administrator
    )
    return asked and not is_mfa_enabled(user)


class SecondFactorMiddleware:
    """Who must have a second factor and has none sees nothing but the page that adds one."""

    OPEN = ("/account/", "/static/", "/healthz", "/notice/")

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        if (
            isinstance(user, User)
            and not request.path.startswith(self.OPEN)
            and must_add_second_factor(user)
        ):
            return redirect("mfa_activate_totp")
        return self.get_response(request)


class PrivateCacheMiddleware:
    """No proxy and no disk keeps a page with figures."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.user.is_authenticated and "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-store"
        return response


def navigation(request: HttpRequest) -> dict[str, Any]:
    """The pages that the user may open, for the menu."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {"pages": []}
    pages = [("overview", "Overview"), ("reports", "Reports")]
    if user.may_manage:
        pages.append(("sites", "Sites"))
    if user.is_administrator:
        pages += [("fleet", "Sensors"), ("people", "People"), ("audit", "Log")]
    current = request.resolver_match.url_name if request.resolver_match else ""
    groups = {
        "site": "sites",
        "sensor": "fleet",
        "invite": "people",
        "person": "people",
        "report": "reports",
    }
    return {"pages": pages, "current": groups.get(current or "", current)}
