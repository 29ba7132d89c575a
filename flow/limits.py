"""Rate limits for what the log-in package does not cover itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from allauth.account.adapter import get_adapter
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def limited(
    action: str, amount: int, seconds: int, *, method: str = "POST"
) -> Callable[[View[P]], View[P]]:
    """At most `amount` such requests of one user (or address) in so many seconds; else 429."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method == method and not within(request, action, amount, seconds):
                return HttpResponse("Too many requests; wait a while.", status=429)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def within(request: HttpRequest, action: str, amount: int, seconds: int) -> bool:
    """Count one use of `action` by the request's user (or address); False: there were too many."""
    user = request.user
    who = f"user{user.pk}" if user.is_authenticated else f"ip{client_address(request)}"
    key = f"limit:{action}:{who}:{int(time.time()) // seconds}"
    if cache.add(key, 1, timeout=seconds):
        return True
    try:
        return bool(cache.incr(key) <= amount)
    except ValueError:  # it expired in between
        return True


def client_address(request: HttpRequest) -> str:
    """The address behind as many proxies as FLOW_PROXIES says."""
    return str(get_adapter().get_client_ip(request))
