"""People: invitations, roles, sites, tokens. Administrators only, but for one's own tokens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.password_validation import validate_password
from django.core.mail import send_mail
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from flow import audit
from flow.access import requires, user_of
from flow.limits import limited
from flow.models import ApiToken, Invitation, Role, Site, User

INVITATION_DAYS = 7
TOKEN_DAYS = 365


class RightsForm(forms.Form):
    """Role and sites; the sites are those of the administrator's own customer."""

    role = forms.ChoiceField(choices=Role, widget=forms.RadioSelect, initial=Role.VIEWER)
    sites = forms.ModelMultipleChoiceField(
        Site.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, customer_id: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["sites"].queryset = Site.objects.filter(customer=customer_id)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("role") != Role.ADMINISTRATOR and not cleaned.get("sites"):
            self.add_error("sites", "Choose at least one site.")
        return cleaned


class InviteForm(RightsForm):
    email = forms.EmailField(max_length=254)
    field_order = ("email", "role", "sites")

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).lower()
        if User.objects.filter(email=email).exists():
            raise forms.ValidationError("This address cannot be invited.")
        return email


class PersonForm(RightsForm):
    is_active = forms.BooleanField(required=False, label="May log in")
    field_order = ("role", "sites", "is_active")


class WelcomeForm(forms.Form):
    name = forms.CharField(max_length=100, widget=forms.TextInput({"autocomplete": "name"}))
    password = forms.CharField(
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text="At least 12 characters. A sentence is good.",
    )

    def __init__(self, *args: Any, email: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.email = email

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "password" in cleaned:
            person = User(email=self.email, name=cleaned.get("name", ""))
            try:
                validate_password(cleaned["password"], person)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return cleaned


class TokenForm(forms.Form):
    name = forms.CharField(max_length=60, help_text="What will use it.")


@requires(Role.ADMINISTRATOR)
def page(request: HttpRequest) -> HttpResponse:
    customer = user_of(request).customer
    people = customer.users.prefetch_related("sites").order_by("-is_active", "name", "email")
    waiting = Invitation.objects.filter(customer=customer, expires_at__gt=timezone.now())
    return render(request, "flow/people.html", {"people": people, "waiting": waiting})


@requires(Role.ADMINISTRATOR)
@limited("invite", 30, 3600)
def invite(request: HttpRequest) -> HttpResponse:
    me = user_of(request)
    form = InviteForm(request.POST or None, customer_id=me.customer_id)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            Invitation.objects.filter(
                email=form.cleaned_data["email"], customer=me.customer
            ).delete()
            invitation, token = Invitation.issue(
                days=INVITATION_DAYS,
                email=form.cleaned_data["email"],
                customer=me.customer,
                role=form.cleaned_data["role"],
                invited_by=me,
            )
            invitation.sites.set(form.cleaned_data["sites"])
            audit.write(request, "user_invited", f"{invitation.email} as {invitation.role}")
        link = settings.BASE_URL + reverse("welcome", args=[token])
        send_mail(
            f"{me.customer.name} invites you to FLOW",
            f"{me} invites you to read visitor statistics of {me.customer.name}.\n\n"
            f"Open this link within {INVITATION_DAYS} days and choose a password:\n{link}\n",
            None,
            [invitation.email],
        )
        messages.success(request, f"Invitation sent to {invitation.email}.")
        return redirect("people")
    return render(
        request,
        "flow/form.html",
        {"form": form, "title": "Invite somebody", "button": "Invite", "back": "people"},
    )


@requires(Role.ADMINISTRATOR)
@require_POST
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    invitation = get_object_or_404(Invitation, pk=number, customer=user_of(request).customer)
    audit.write(request, "invitation_withdrawn", invitation.email)
    invitation.delete()
    return redirect("people")


@requires(Role.ADMINISTRATOR)
def person(request: HttpRequest, number: int) -> HttpResponse:
    me = user_of(request)
    who = get_object_or_404(User, pk=number, customer=me.customer)
    initial = {"role": who.role, "sites": who.sites.all(), "is_active": who.is_active}
    form = PersonForm(request.POST or None, customer_id=me.customer_id, initial=initial)
    if request.method == "POST" and form.is_valid():
        if who == me:
            form.add_error(None, "Somebody else must change your own rights.")
        else:
            _change(request, who, form.cleaned_data)
            messages.success(request, f"{who} changed.")
            return redirect("people")
    return render(
        request,
        "flow/form.html",
        {"form": form, "title": str(who), "button": "Save", "back": "people", "who": who},
    )


def _change(request: HttpRequest, who: User, rights: dict[str, Any]) -> None:
    with transaction.atomic():
        who.role, who.is_active = rights["role"], rights["is_active"]
        who.save(update_fields=["role", "is_active"])
        who.sites.set(rights["sites"])
        if not who.is_active:
            who.tokens.all().delete()
        names = ", ".join(site.name for site in rights["sites"]) or "all sites"
        active = "" if who.is_active else ", may not log in"
        audit.write(request, "rights_changed", f"{who.email}: {who.role}, {names}{active}")


@limited("welcome", 20, 3600)
def welcome(request: HttpRequest, token: str) -> HttpResponse:
    """Where an invitation's link leads: choose a name and a password, and be in."""
    invitation = Invitation.valid(token)
    if invitation is None or User.objects.filter(email=invitation.email).exists():
        raise Http404
    form = WelcomeForm(request.POST or None, email=invitation.email)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            if not Invitation.objects.select_for_update().filter(pk=invitation.pk).exists():
                raise Http404
            user = User.objects.create_user(
                invitation.email,
                form.cleaned_data["password"],
                name=form.cleaned_data["name"],
                customer=invitation.customer,
                role=invitation.role,
            )
            user.sites.set(invitation.sites.all())
            invitation.delete()
            audit.write(request, "invitation_accepted", user=user)
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        return redirect("overview")
    return render(request, "flow/welcome.html", {"form": form, "invitation": invitation})


@requires()
def tokens(request: HttpRequest) -> HttpResponse:
    me = user_of(request)
    form = TokenForm(request.POST or None)
    shown = None
    if request.method == "POST" and "delete" in request.POST:
        found = get_object_or_404(ApiToken, pk=_number(request.POST["delete"]), user=me)
        audit.write(request, "token_deleted", found.name)
        found.delete()
        return redirect("tokens")
    if request.method == "POST" and form.is_valid():
        made, shown = ApiToken.issue(days=TOKEN_DAYS, user=me, name=form.cleaned_data["name"])
        audit.write(request, "token_made", made.name)
        form = TokenForm()
    mine = me.tokens.order_by("name")
    return render(request, "flow/tokens.html", {"tokens": mine, "form": form, "shown": shown})


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Http404
    return int(text)
