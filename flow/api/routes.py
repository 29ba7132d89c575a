"""The API, version 1. Each answer comes from the same functions as the pages, so it is protected
in the same way: there is no second door to the figures.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Field, NinjaAPI, Query, Schema
from ninja.errors import HttpError
from ninja.security import HttpBearer

from flow.access import must_add_second_factor
from flow.figures import quality
from flow.figures.protection import WITHHELD
from flow.figures.question import KEEP, ask
from flow.figures.report import Line, report
from flow.fleet import condition
from flow.limits import within
from flow.models import ApiToken, Role, Sensor, Site, User

REQUESTS_A_MINUTE = 120


class TooManyRequestsError(Exception):
    """One token asked too often."""


class Token(HttpBearer):
    """`Authorization: Bearer <token>`; a token has its user's rights of this moment."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        found = ApiToken.valid(token) if token.isascii() and len(token) < 200 else None
        if found is None:
            return None
        user: User = found.user
        if not user.is_active or must_add_second_factor(user):
            return None
        request.user = user
        if not within(request, "api", REQUESTS_A_MINUTE, 60):
            raise TooManyRequestsError
        ApiToken.objects.filter(pk=found.pk).update(last_used=timezone.now())
        return user


api = NinjaAPI(
    title="FLOW",
    version="1",
    description="Visitor statistics. Counts of groups below 5 are withheld (null), and counts of "
    "groups carry a small random deviation; totals are exact.",
    auth=Token(),
    urls_namespace="api",
    docs_url="/docs",
)


class Problem(Schema):
    detail: str


class SiteOut(Schema):
    slug: str
    name: str
    time_zone: str
    hours: list[list[int]] = Field(description="opening and closing hour, Monday first")
    floor_m2: int | None
    staff: int | None


class Asked(Schema):
    """What to report; the same words as in the address of a page."""

    period: Literal[
        "today", "yesterday", "7d", "28d", "month", "last-month", "12mo", "year", "custom"
    ] = "today"
    first: date | None = Field(None, description="with period=custom")
    last: date | None = Field(None, description="with period=custom")
    compare: Literal["previous", "year", "none"] = "none"
    site: Annotated[str, Field(max_length=1000)] = Field("", description="slugs, with commas")
    gender: Annotated[str, Field(max_length=100)] = ""
    age: Annotated[str, Field(max_length=100)] = ""
    expression: Annotated[str, Field(max_length=100)] = ""
    weekday: Annotated[str, Field(max_length=100)] = ""
    hour: Annotated[str, Field(max_length=100)] = ""
    shares: Literal["", "corrected"] = ""
    split: Literal["site", "time", "hour", "weekday", "gender", "age", "expression"] = "site"
    per: Literal["none", "hour", "m2", "staff"] = "none"


class LineOut(Schema):
    label: str
    visitors: int | None = Field(description="null where too few to show")
    compared: int | None
    rate: float | None = Field(description="visitors divided as `per` asks")
    mean_stay_s: float | None
    mean_attention_s: float | None
    share: float | None
    share_low: float | None = Field(description="95 % interval with the models' known error")
    share_high: float | None


class QualityOut(Schema):
    records: int
    missing: int
    unsynchronised: int
    open_hours: int
    dark_hours: int


class ReportOut(Schema):
    first: date
    last: date
    compared_first: date | None
    compared_last: date | None
    lines: list[LineOut]
    total: LineOut
    quality: QualityOut


class SensorOut(Schema):
    device: str
    name: str
    site: str
    last_seen: str | None
    alarms: list[str]
    model_set: str


@api.exception_handler(TooManyRequestsError)
def too_many(request: HttpRequest, error: Exception) -> Any:
    answer = api.create_response(request, {"detail": "too many requests"}, status=429)
    answer["Retry-After"] = "60"
    return answer


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@api.get("/sites", response={200: list[SiteOut], 401: Problem, 429: Problem})
def sites(request: HttpRequest) -> list[Site]:
    """The sites that the token's user may see."""
    return list(_user(request).visible_sites())


@api.get("/report", response={200: ReportOut, 401: Problem, 404: Problem, 422: Any, 429: Problem})
def a_report(request: HttpRequest, asked: Query[Asked]) -> ReportOut:
    """One table of figures."""
    visible = list(_user(request).visible_sites())
    wanted = {slug for slug in asked.site.split(",") if slug}
    if not visible or not wanted <= {site.slug for site in visible}:
        raise Http404
    given = asked.dict()
    query = {name: str(given[name]) for name in KEEP if given.get(name)}
    for name, value in (("from", asked.first), ("to", asked.last)):
        if value:
            query[name] = value.isoformat()
    question = ask(query, visible)
    answer = report(question, asked.split, asked.per)
    other = question.other
    return ReportOut(
        first=question.period.first,
        last=question.period.last,
        compared_first=other.first if other else None,
        compared_last=other.last if other else None,
        lines=[_line(line) for line in answer.lines],
        total=_line(answer.total),
        quality=_quality(answer.quality),
    )


@api.get("/sensors", response={200: list[SensorOut], 401: Problem, 403: Problem, 429: Problem})
def sensors(request: HttpRequest) -> list[SensorOut]:
    """The fleet; administrators only."""
    user = _user(request)
    if user.role != Role.ADMINISTRATOR:
        raise HttpError(403, "administrators only")
    now = timezone.now()
    return [
        SensorOut(
            device=sensor.device,
            name=sensor.name,
            site=sensor.site.slug,
            last_seen=sensor.last_seen.isoformat() if sensor.last_seen else None,
            alarms=[alarm.title for alarm in condition(sensor, now).alarms],
            model_set=sensor.model_set,
        )
        for sensor in Sensor.objects.filter(site__customer=user.customer_id).select_related("site")
    ]


def _line(line: Line) -> LineOut:
    return LineOut(
        label=line.label,
        visitors=None if line.visitors == WITHHELD else line.visitors,
        compared=None if line.before in (None, WITHHELD) else line.before,
        rate=line.rate,
        mean_stay_s=_number(line.dwell_s),
        mean_attention_s=_number(line.attention_s),
        share=line.share,
        share_low=line.low,
        share_high=line.high,
    )


def _quality(state: quality.Quality) -> QualityOut:
    return QualityOut(
        records=state.records,
        missing=state.missing,
        unsynchronised=state.unsynchronised,
        open_hours=state.open_hours,
        dark_hours=state.dark_hours,
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 1)
