"""The fleet: what every sensor says about itself, and the few settings that may be changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from firmware.errors import SensorError
from flow import audit, twin
from flow.access import requires, user_of
from flow.fleet import Condition, condition, said
from flow.ingest.opening import check_certificates
from flow.models import Quarantined, Role, Sensor, Site, User


class SensorForm(forms.Form):
    """A new sensor: its certificate says its name and the key that it signs with."""

    name = forms.CharField(max_length=100, help_text="Where it hangs, such as “Main entrance”.")
    site = forms.ModelChoiceField(Site.objects.none())
    certificates = forms.CharField(
        label="Certificate (PEM)",
        max_length=20_000,
        widget=forms.Textarea({"rows": 8, "spellcheck": "false"}),
        help_text="As provisioning issued it.",
    )

    def __init__(self, *args: Any, sites: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["site"].queryset = sites  # type: ignore[attr-defined]

    def clean_certificates(self) -> str:
        pem = str(self.cleaned_data["certificates"])
        try:
            self.device = check_certificates(pem)
        except SensorError as error:
            raise forms.ValidationError(f"{error.problem}; {error.remedy}.") from error
        if Sensor.objects.filter(device=self.device).exists():
            raise forms.ValidationError("A sensor of this name exists.")
        return pem


class PlaceForm(forms.Form):
    name = forms.CharField(max_length=100)
    site = forms.ModelChoiceField(Site.objects.none())
    retired = forms.BooleanField(required=False, label="Out of service: records are refused")

    def __init__(self, *args: Any, sites: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["site"].queryset = sites  # type: ignore[attr-defined]


class TwinForm(forms.Form):
    """What the twin may change (the device refuses everything else, and so does this form)."""

    score = forms.FloatField(
        min_value=0, max_value=1, required=False, label="Least likelihood of a face"
    )
    max_lost_s = forms.FloatField(
        min_value=0, max_value=10, required=False, label="Seconds a face may be hidden"
    )
    minimum_dwell_s = forms.FloatField(
        min_value=0, max_value=3600, required=False, label="Shortest stay that counts, seconds"
    )
    minimum_face_px = forms.IntegerField(
        min_value=0, max_value=8192, required=False, label="Smallest face that counts, pixels"
    )
    every_s = forms.FloatField(
        min_value=1, max_value=86_400, required=False, label="Seconds between health reports"
    )


def _sensors(user: User) -> Any:
    return Sensor.objects.filter(site__customer=user.customer_id).select_related("site")


@requires(Role.ADMINISTRATOR)
def page(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    found = [(sensor, condition(sensor, now)) for sensor in _sensors(user_of(request))]
    found.sort(key=lambda pair: (-pair[1].severity, pair[0].site.name, pair[0].name))
    counts = {
        "all": len(found),
        "fine": sum(not state.alarms for _, state in found),
        "trouble": sum(bool(state.alarms) for _, state in found),
    }
    return render(request, "flow/fleet.html", {"sensors": found, "counts": counts})


@requires(Role.ADMINISTRATOR)
def sensor(request: HttpRequest, device: str) -> HttpResponse:
    me = user_of(request)
    one = get_object_or_404(_sensors(me), device=device)
    twin_form, place_form = _twin_form(one), _place_form(one, me)
    if request.method == "POST" and "twin" in request.POST:
        twin_form = TwinForm(request.POST)
        if twin_form.is_valid() and _change_twin(request, one, twin_form.cleaned_data):
            return redirect("sensor", device=device)
    elif request.method == "POST":
        place_form = PlaceForm(request.POST, sites=me.visible_sites())
        if place_form.is_valid():
            for name, value in place_form.cleaned_data.items():
                setattr(one, name, value)
            one.save(update_fields=["name", "site", "retired"])
            audit.write(request, "sensor_changed", f"{one.device}: {one.name} at {one.site}")
            return redirect("sensor", device=device)
    state: Condition = condition(one, timezone.now())
    return render(
        request,
        "flow/sensor.html",
        {
            "sensor": one,
            "state": state,
            "twin_form": twin_form,
            "place_form": place_form,
            "refused": Quarantined.objects.filter(device=device)[:10],
            "health": list(said(one.health)),
            "answered": list(said(one.reported)),
        },
    )


@requires(Role.ADMINISTRATOR)
def add(request: HttpRequest) -> HttpResponse:
    me = user_of(request)
    form = SensorForm(request.POST or None, sites=me.visible_sites())
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        Sensor.objects.create(device=form.device, **cleaned)
        audit.write(request, "sensor_added", f"{form.device} at {cleaned['site']}")
        messages.success(request, f"{cleaned['name']} added; it counts from its next record on.")
        return redirect("fleet")
    context = {"form": form, "title": "Add a sensor", "button": "Add", "back": "fleet"}
    return render(request, "flow/form.html", context)


def _place_form(one: Sensor, me: User) -> PlaceForm:
    initial = {"name": one.name, "site": one.site_id, "retired": one.retired}
    return PlaceForm(initial=initial, sites=me.visible_sites())


def _twin_form(one: Sensor) -> TwinForm:
    flat = {
        key: value
        for part in one.desired.values()
        if isinstance(part, dict)
        for key, value in part.items()
    }
    return TwinForm(initial=flat)


def _change_twin(request: HttpRequest, one: Sensor, values: dict[str, Any]) -> bool:
    patch: dict[str, dict[str, Any]] = {}
    for section, keys in twin.SECTIONS.items():
        for key in keys:
            if values.get(key) is not None:
                patch.setdefault(section, {})[key] = values[key]
    try:
        twin.patch(one.device, patch)
    except SensorError as error:
        messages.error(request, f"{error.problem}: {error.remedy}")
        return False
    one.desired = patch
    one.save(update_fields=["desired"])
    audit.write(request, "settings_changed", f"{one.device}: {patch}")
    messages.success(request, "Sent to the sensor. It answers at its next contact.")
    return True
