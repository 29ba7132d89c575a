"""Every address of the application."""

from __future__ import annotations

from django.urls import include, path

from flow.api.routes import api
from flow.web import (
    audit,
    errors,
    fleet,
    health,
    notice,
    overview,
    people,
    reports,
    sites,
)

urlpatterns = [
    path("", overview.page, name="overview"),
    path("pulse", overview.pulse, name="pulse"),
    path("reports", reports.page, name="reports"),
    path("reports/export.<str:form>", reports.export, name="export"),
    path("reports/save", reports.save, name="report-save"),
    path("reports/<int:number>", reports.open_saved, name="report"),
    path("reports/<int:number>/edit", reports.edit, name="report-edit"),
    path("reports/<int:number>/schedule", reports.schedule, name="report-schedule"),
    path("sites", sites.page, name="sites"),
    path("sites/add", sites.add, name="site-add"),
    path("sites/<slug:slug>", sites.edit, name="site"),
    path("sensors", fleet.page, name="fleet"),
    path("sensors/add", fleet.add, name="sensor-add"),
    path("sensors/<str:device>", fleet.sensor, name="sensor"),
    path("people", people.page, name="people"),
    path("people/invite", people.invite, name="invite"),
    path("people/<int:number>", people.person, name="person"),
    path("people/invitation/<int:number>/withdraw", people.withdraw, name="withdraw"),
    path("welcome/<str:token>", people.welcome, name="welcome"),
    path("log", audit.page, name="audit"),
    path("tokens", people.tokens, name="tokens"),
    path("notice/<str:public>/", notice.page, name="notice"),
    path("notice/<str:public>/<str:language>", notice.page, name="notice-language"),
    path("notice/<str:public>/<str:language>/sign", notice.sign, name="sign"),
    # Accounts are made by invitation, and an address is changed by inviting the new one.
    path("account/signup/", errors.not_found),
    path("account/email/", errors.not_found),
    path("account/", include("allauth.urls")),
    path("api/v1/", api.urls),
    path("healthz", health.page, name="health"),
]
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.broken
