"""Reports: build one by links, export it, keep it, share it, have it sent."""

from __future__ import annotations

from datetime import date, timedelta
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from flow import audit, charts
from flow.access import requires, user_of
from flow.figures import periods
from flow.figures.protection import WITHHELD
from flow.figures.question import KEEP, LABELS, TITLES, VALUES, ask, merged
from flow.figures.report import PER, SPLITS, choices, report
from flow.figures.report import Report as Figures
from flow.limits import limited
from flow.models import Report, Schedule, User
from flow.reports.columns import cells, heading, notes
from flow.reports.forms import FORMS


def kept(query: dict[str, str]) -> str:
    """The parts of a query that a report consists of, as a query string."""
    names = (*KEEP, "split", "per")
    return urlencode({name: query[name] for name in names if query.get(name)}, safe=",:")


@requires()
def page(request: HttpRequest) -> HttpResponse:
    me = user_of(request)
    sites = list(me.visible_sites())
    if not sites:
        return render(request, "flow/no_sites.html")
    asked = merged(request.GET)
    question = ask(asked, sites)
    split, per = choices(asked)
    answer = report(question, split, per)
    query = kept(asked)
    context = {
        "question": question,
        "report": answer,
        "heading": heading(answer),
        "lines": [cells(answer, line) for line in answer.lines],
        "total": cells(answer, answer.total),
        "notes": notes(answer),
        "query": query,
        "saved": _mine(me),
        "menus": {
            "period": list(periods.PRESETS.items()),
            "compare": list(periods.COMPARISONS.items()),
            "split": list(SPLITS.items()),
            "per": list(PER.items()),
        },
        "chosen": {
            "period": question.preset,
            "compare": question.comparing,
            "split": split,
            "per": per,
        },
        "filters": [
            (
                name,
                TITLES[name],
                [
                    (word, LABELS.get(word, f"{word}:00"), word in question.filters.get(name, ()))
                    for word in VALUES[name]
                ],
            )
            for name in ("gender", "age", "expression", "weekday")
        ],
        "chart": _charts(answer),
    }
    return render(request, "flow/reports.html", context)


def _charts(answer: Figures) -> list[str]:
    """The lines as columns, for wide and for narrow screens; of the rate where one was asked."""
    rows: list[tuple[str, float | None, float | None]] = []
    for line in answer.lines:
        if answer.per != "none":
            rows.append((line.label, line.rate, None))
        else:
            shown = None if line.visitors == WITHHELD else float(line.visitors)
            before = None if line.before in (None, WITHHELD) else line.before
            rows.append((line.label, shown, before))
    title = f"Visitors by {answer.split_title.lower()}, {answer.question.period.text()}"
    return [
        charts.columns_chart(rows, frame, title=title) for frame in (charts.WIDE, charts.NARROW)
    ]


@requires()
@limited("export", 60, 60, method="GET")
def export(request: HttpRequest, form: str) -> HttpResponse:
    if form not in FORMS:
        raise Http404
    sites = list(user_of(request).visible_sites())
    if not sites:
        raise Http404
    write, kind = FORMS[form]
    asked = merged(request.GET)
    question = ask(asked, sites)
    answer = report(question, *choices(asked))
    audit.write(request, "report_exported", f"{form}: {kept(asked)}")
    response = HttpResponse(write(answer), content_type=kind)
    name = f"flow-{question.period.first}-{question.period.last}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


class SaveForm(forms.Form):
    name = forms.CharField(max_length=100)
    query = forms.CharField(max_length=1000, required=False)
    shared = forms.BooleanField(required=False)


@requires()
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    me = user_of(request)
    form = SaveForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Give the report a name of at most 100 characters.")
        return redirect("reports")
    made = Report.objects.create(
        customer=me.customer,
        owner=me,
        name=form.cleaned_data["name"],
        query=kept(dict(parse_qsl(form.cleaned_data["query"]))),
        shared=form.cleaned_data["shared"] and me.may_manage,
    )
    audit.write(request, "report_saved", made.name)
    return redirect("report", number=made.pk)


@requires()
def open_saved(request: HttpRequest, number: int) -> HttpResponse:
    """A saved report shows what its reader may see, not what its owner may."""
    found = get_object_or_404(_mine(user_of(request)), pk=number)
    return redirect(f"{reverse('reports')}?{found.query}")


class ReportForm(forms.Form):
    name = forms.CharField(max_length=100)
    shared = forms.BooleanField(required=False, label="Everybody of this customer may open it")


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Schedule
        fields = ("every", "form", "recipients")
        widgets: ClassVar = {"recipients": forms.CheckboxSelectMultiple}


@requires()
def edit(request: HttpRequest, number: int) -> HttpResponse:
    me = user_of(request)
    found = get_object_or_404(Report, pk=number, owner=me)
    initial = {"name": found.name, "shared": found.shared}
    form = ReportForm(request.POST or None, initial=initial)
    if request.method == "POST" and "delete" in request.POST:
        audit.write(request, "report_deleted", found.name)
        found.delete()
        return redirect("reports")
    if request.method == "POST" and form.is_valid():
        found.name = form.cleaned_data["name"]
        found.shared = form.cleaned_data["shared"] and me.may_manage
        found.save()
        audit.write(request, "report_changed", found.name)
        return redirect("reports")
    context = {
        "form": form,
        "saved": found,
        "schedules": found.schedules.all(),
        "schedule_form": _schedule_form(me, None) if me.may_manage else None,
    }
    return render(request, "flow/report.html", context)


@requires()
@require_POST
def schedule(request: HttpRequest, number: int) -> HttpResponse:
    """Add a schedule, or take one out (`delete`). Managers and administrators only."""
    me = user_of(request)
    found = get_object_or_404(Report, pk=number, owner=me)
    if not me.may_manage:
        raise Http404
    if request.POST.get("delete", "").isdigit():
        found.schedules.filter(pk=request.POST["delete"]).delete()
        audit.write(request, "schedule_deleted", found.name)
        return redirect("report-edit", number=number)
    form = _schedule_form(me, request.POST)
    if form.is_valid():
        made = form.save(commit=False)
        made.report, made.next_on = found, next_day(made.every, date.today())
        made.save()
        form.save_m2m()
        audit.write(request, "report_scheduled", f"{found.name}, {made.get_every_display()}")
    else:
        messages.error(request, "Choose how often, in which form and at least one person.")
    return redirect("report-edit", number=number)


def next_day(every: str, today: date) -> date:
    """The next day on which a schedule is due, after `today`."""
    if every == Schedule.Every.DAY:
        return today + timedelta(1)
    if every == Schedule.Every.WEEK:
        return today + timedelta(7 - today.weekday())
    return (today.replace(day=1) + timedelta(32)).replace(day=1)


def _schedule_form(me: User, posted: object) -> ScheduleForm:
    form = ScheduleForm(posted)  # type: ignore[arg-type]
    people = User.objects.filter(customer=me.customer_id, is_active=True)
    form.fields["recipients"].queryset = people  # type: ignore[attr-defined]
    return form


def _mine(me: User) -> QuerySet[Report]:
    return Report.objects.filter(Q(owner=me) | Q(customer=me.customer_id, shared=True))
