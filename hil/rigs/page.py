"""The page that goes with a shipment: verdict, scenarios, plots; one file, no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from hil import report
from hil.rigs import plots
from hil.rigs.results import Results, Scenario

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2429;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
.verdict{padding:.8rem 1rem;border-left:6px solid;background:#f3f6f4;font-size:1.1rem}
.passed{border-color:#2f7d4f}.failed{border-color:#b3261e;background:#fbeeed}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #d9dfdc;vertical-align:top}td.n{text-align:right}
.none,small{color:#5a666d}figure{margin:1rem 0}figcaption{font-weight:600}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#5a666d}
svg text.left{text-anchor:end}svg text.name{font-weight:600;fill:inherit}
svg path{fill:none;stroke-width:1.6}.grid{stroke:#e3e8e5}.mark{stroke:#c3ccc7;stroke-dasharray:3 3}
@media print{body{margin:0;max-width:none}figure{break-inside:avoid}}
"""


def page(results: Results, written: dict[str, Any]) -> str:
    """The whole page as HTML.

    Args:
        written: the report's figures as they stand in its JSON file, with machine and commit.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>Rig report: {escape(results.rig)}</title><style>{_STYLE}</style>",
        f"<h1>Rig report: {escape(results.rig)}</h1>",
        f"<small>{escape(results.title)}; commit {escape(str(written['commit']))}, "
        f"{escape(str(written['date']))}; {escape(_machine(written['machine']))}</small>",
        _verdict(results),
        *_figures(written),
        "<h2>Scenarios</h2><table><tr><th>scenario<th>verdict<th>seconds<th>what it showed",
        *map(_row, results.scenarios),
        "</table><h2>What the device said about itself</h2>",
        *_plots(results),
        *_soak(results, written),
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _machine(facts: dict[str, Any]) -> str:
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB, Linux {facts['kernel']}"
    )


def _verdict(results: Results) -> str:
    passed = sum(each.verdict == "passed" for each in results.scenarios)
    failed = [each.title for each in results.scenarios if each.verdict == "failed"]
    missing = [each.title for each in results.scenarios if each.verdict == "not applicable"]
    if results.passed:
        words = f"Passed: {passed} scenarios on this rig, none failed."
    else:
        words = f"Not to be shipped: {', '.join(failed) or 'nothing was shown'}."
    if missing:
        words += f" Not shown on this rig, and to be shown on another: {', '.join(missing)}."
    kind = "passed" if results.passed else "failed"
    return f'<p class="verdict {kind}">{escape(words)}</p>'


def _figures(written: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Figures</h2><table>"
    for name, words in (
        ("boot_to_first_record_s", "from power to the first record at the hub, s"),
        ("image_mb", "size of what is flashed, MiB"),
        ("power_cuts", "power cuts in mid-interaction"),
        ("roots_identical", "after which the software was byte-identical"),
        ("traces_on_disk", "traces of who was in view, on all of the storage"),
        ("numbers_reused", "interaction numbers used twice"),
    ):
        value = written[name]
        shown = "not shown here" if value is None else f"{value:g}"
        yield f"<tr><td>{escape(words)}<td class=n>{shown}"
    yield "</table>"


def _row(each: Scenario) -> str:
    shown = "; ".join(f"{name}: {value}" for name, value in each.notes.items() if name != "soak")
    return (
        f"<tr><td>{escape(each.title)}<td>{escape(each.verdict)}<td class=n>{each.seconds:g}"
        f"<td>{escape(each.why or shown)}"
    )


def _plots(results: Results) -> Iterator[str]:
    said = [each for each in results.said if "soak" not in each.scenario]
    if not said:
        yield "<p class=none>It said nothing.</p>"
        return
    began = said[0].at_s
    marks, last = [], ""
    for each in said:
        if each.scenario != last:
            marks.append((each.at_s - began, 0.0))
            last = each.scenario

    def over(name: str, scale: float = 1) -> list[tuple[float, float]]:
        found = [(each.at_s - began, each.health.get(name)) for each in said]
        return [(at, value * scale) for at, value in found if isinstance(value, int)]

    memory: dict[str, list[tuple[float, float]]] = {}
    for each in said:
        resident = each.health.get("resident_kb")
        for name, kb in resident.items() if isinstance(resident, dict) else ():
            if kb:
                memory.setdefault(name, []).append((each.at_s - began, kb / 1024))
    latency = {
        "frame": over("frame_ms_p95_x10", 0.1),
        "processor": over("frame_cpu_ms_p95_x10", 0.1),
    }
    for title, unit, series in (
        ("Temperature", "°C", {"board": over("temperature_c")}),
        ("Memory", "MiB resident", memory),
        ("Latency", "ms of a frame, 95th percentile", latency),
        ("Queue", "records that wait for the hub", {"outbox": over("waiting")}),
    ):
        yield plots.lines(series, title=title, unit=unit, marks=marks)
    yield "<small>A dashed line is the beginning of another scenario.</small>"


def _soak(results: Results, written: dict[str, Any]) -> Iterator[str]:
    soak = written["soak"]
    if not soak:
        return
    yield f"<h2>Soak: {soak['interactions']:,} interactions</h2><table>"
    yield "<tr><th>process<th>kB per 1,000<th>95 % interval<th>files<th>threads"
    for name, slope in soak["rss_slope_kb_per_1000"].items():
        yield (
            f"<tr><td>{escape(name)}<td>{slope['slope']:g}<td>{slope['low']:g} … "
            f"{slope['high']:g}<td>{soak['files_at_first'][name]} → {soak['files'][name]}"
            f"<td>{soak['threads_at_first'][name]} → {soak['threads'][name]}"
        )
    yield "</table>"
    samples = results.samples
    names = sorted({name for each in samples for name in each["processes"]})
    for name in names:
        points = [
            (each["interactions"], each["processes"][name]["rss_kb"] / 1024)
            for each in samples
            if name in each["processes"]
        ]
        yield plots.lines({name: points}, title=f"Memory of {name}", unit="MiB", along="")
    latency = {
        name: [(each["interactions"], each[figure]) for each in samples]
        for name, figure in (("frame", "frame_ms_p95"), ("processor", "frame_cpu_ms_p95"))
    }
    yield plots.lines(latency, title="Latency", unit="ms, p95", along="")
    waiting = [(each["interactions"], each["waiting"]) for each in samples]
    yield plots.lines({"outbox": waiting}, title="Queue", unit="records", along="")


def write(results: Results, written: dict[str, Any], name: str) -> None:
    """`build/reports/<name>.html`."""
    (report.REPORTS / f"{name}.html").write_text(page(results, written), encoding="utf-8")
