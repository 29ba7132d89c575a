"""Sites: opening hours, floor area and staff, which reports divide by."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify

from flow import audit
from flow.access import requires, user_of
from flow.figures.question import LABELS, WEEKDAYS
from flow.models import Role, Site

HOURS = [(hour, f"{hour:02d}:00") for hour in range(25)]


class SiteForm(forms.ModelForm):  # type: ignore[type-arg]
    """A site with an opening and a closing hour for each weekday; equal hours mean closed."""

    class Meta:
        model = Site
        fields = ("name", "time_zone", "floor_m2", "staff")
        labels: ClassVar = {"floor_m2": "Floor area in m²", "staff": "Staff"}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for at, day in enumerate(WEEKDAYS):
            opens, closes = self.instance.hours[at]
            for name, value in (("opens", opens), ("closes", closes)):
                self.fields[f"{day}_{name}"] = forms.TypedChoiceField(
                    choices=HOURS, coerce=int, initial=value, label=f"{LABELS[day]} {name}"
                )

    def week(self) -> list[tuple[str, Any, Any]]:
        """For the template: weekday, opening field, closing field."""
        return [(LABELS[day], self[f"{day}_opens"], self[f"{day}_closes"]) for day in WEEKDAYS]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        pairs = [[cleaned.get(f"{d}_opens", 0), cleaned.get(f"{d}_closes", 0)] for d in WEEKDAYS]
        if any(opens > closes for opens, closes in pairs):
            raise forms.ValidationError("A day cannot close before it opens.")
        self.instance.hours = pairs
        return cleaned


@requires(Role.ADMINISTRATOR, Role.MANAGER)
def page(request: HttpRequest) -> HttpResponse:
    sites = user_of(request).visible_sites().prefetch_related("sensors")
    return render(request, "flow/sites.html", {"sites": sites})


@requires(Role.ADMINISTRATOR, Role.MANAGER)
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    site = get_object_or_404(user_of(request).visible_sites(), slug=slug)
    form = SiteForm(request.POST or None, instance=site)
    if request.method == "POST" and form.is_valid():
        form.save()
        audit.write(request, "site_changed", site.name)
        messages.success(request, f"{site.name} saved.")
        return redirect("sites")
    return render(request, "flow/site.html", {"form": form, "title": site.name, "site": site})


@requires(Role.ADMINISTRATOR)
def add(request: HttpRequest) -> HttpResponse:
    customer = user_of(request).customer
    form = SiteForm(request.POST or None, instance=Site(customer=customer))
    if request.method == "POST" and form.is_valid():
        site = form.save(commit=False)
        base = slugify(site.name)[:50] or "site"
        taken = set(customer.sites.values_list("slug", flat=True))
        site.slug = next(
            slug for slug in (base, *(f"{base}-{n}" for n in range(2, 10_000))) if slug not in taken
        )
        site.save()
        audit.write(request, "site_added", site.name)
        return redirect("sites")
    return render(request, "flow/site.html", {"form": form, "title": "New site"})
