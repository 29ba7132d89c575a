"""The audit log: every act of a person that changes something or reads something out.

Log-in events come from the packages' own signals, so that no view can forget them.
"""

from __future__ import annotations

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from flow.limits import client_address
from flow.models import AuditEntry, User


def write(
    request: HttpRequest | None, action: str, target: str = "", *, user: User | None = None
) -> None:
    """Add an entry for the request's user, or for `user`."""
    if user is None and request is not None and request.user.is_authenticated:
        user = request.user
    AuditEntry.objects.create(
        customer_id=user.customer_id if user else None,
        actor=user.email if user else "",
        action=action,
        target=target[:300],
        address=client_address(request) if request and "REMOTE_ADDR" in request.META else None,
    )


@receiver(user_logged_in)
def _logged_in(request: HttpRequest, user: User, **_: Any) -> None:
    write(request, "logged_in", user=user)


@receiver(user_logged_out)
def _logged_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user:
        write(request, "logged_out", user=user)


@receiver(user_login_failed)
def _login_failed(credentials: dict[str, Any], request: HttpRequest | None, **_: Any) -> None:
    email = str(credentials.get("email", "")).lower()[:254]
    user = User.objects.filter(email=email).first()
    if user:
        write(request, "login_failed", user=user)
    else:  # the address typed is not kept: it may be a password
        write(request, "login_failed", "an unknown address")


@receiver(account.password_changed)
@receiver(account.password_reset)
def _password(request: HttpRequest, user: User, **_: Any) -> None:
    write(request, "password_changed", user=user)


@receiver(mfa.authenticator_added)
def _factor_added(request: HttpRequest, user: User, **_: Any) -> None:
    write(request, "second_factor_added", user=user)


@receiver(mfa.authenticator_removed)
def _factor_removed(request: HttpRequest, user: User, **_: Any) -> None:
    write(request, "second_factor_removed", user=user)
