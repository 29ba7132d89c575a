"""Each guarantee holds as shipped, and is reported as broken when its ingredient is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from firmware import guarantees, launcher, settings
from firmware.errors import PrivacyError
from firmware.messages import Guarantee
from firmware.settings import Settings
from firmware.vision import native

ALL = {
    "zero_on_free",
    "small_objects",
    "stack_scrub",
    "memory_locked",
    "no_core",
    "not_readable",
    "no_network",
    "no_pen",
    "no_other_program",
    "keys_out_of_reach",
    "one_thread",
    "telemetry_off",
}
LIMITED = {"memory_locked"}
"""What depends on a limit of the machine that runs the tests, not on the code."""


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    native.build()


def looked_up(
    *,
    before: str = "",
    variables: dict[str, str | None] | None = None,
    current: Settings | None = None,
) -> dict[str, Guarantee]:
    """Check in a child that is started as vision is, after running the code `before` in it."""
    environment = launcher.environment("vision")
    for name, value in (variables or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    code = f"""if True:
        import json, sys, msgspec
        from firmware import guarantees, settings
        from firmware.vision import models, sandbox
        {before}
        asked = settings.check(json.load(sys.stdin))
        sandbox.enter(asked, models.directory())
        sys.stdout.buffer.write(msgspec.json.encode(guarantees.check(asked)))
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        input=json.dumps(settings.builtins(current or Settings())).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    found = msgspec.json.decode(done.stdout, type=tuple[Guarantee, ...])
    return {guarantee.name: guarantee for guarantee in found}


def broken(found: dict[str, Guarantee]) -> set[str]:
    assert set(found) == ALL
    return {name for name, guarantee in found.items() if not guarantee.holds} - LIMITED


def test_every_guarantee_holds_as_shipped() -> None:
    assert broken(looked_up()) == set()


def test_a_heap_without_small_gaps_raises_no_false_alarm() -> None:
    """What a check makes for itself then has to lie where a freed block was."""
    crowd = "held = [guarantees._libc.malloc(n) for n in range(24, 2048, 16) for _ in range(500)]"
    look = "seen = [guarantees._heap_is_overwritten() for _ in range(20)]"
    tell = "guarantees._heap_is_overwritten = lambda: all(seen)"
    assert broken(looked_up(before=f"{crowd}; {look}; {tell}")) == set()


@pytest.mark.parametrize(
    ("variables", "lost"),
    [
        ({"LD_PRELOAD": None}, {"zero_on_free", "small_objects"}),
        ({"PYTHONMALLOC": None}, {"small_objects"}),
        ({"ORT_DISABLE_TELEMETRY": None}, {"telemetry_off"}),
        # glibc's fill spares the last 8 bytes of a block: a help, not the guarantee
        ({"LD_PRELOAD": None, "GLIBC_TUNABLES": launcher.FILL_ON_FREE}, {"zero_on_free"}),
    ],
)
def test_a_missing_variable_is_noticed(variables: dict[str, str | None], lost: set[str]) -> None:
    assert broken(looked_up(variables=variables)) == lost


@pytest.mark.parametrize(
    ("step", "lost"),
    [
        ("forbid_dumps", {"no_core", "not_readable"}),
        ("restrict_files", {"keys_out_of_reach"}),
        ("filter_calls", {"no_network", "no_other_program"}),  # Landlock alone keeps the pen away
        ("leave_network", set()),  # the filter alone keeps the network away
    ],
)
def test_a_missing_step_is_noticed(step: str, lost: set[str]) -> None:
    without = f"sandbox.{step} = lambda *_, **__: None"
    assert lost <= broken(looked_up(before=without))


def test_neither_filter_nor_landlock_gives_the_pen_back() -> None:
    without = "sandbox.filter_calls = sandbox.restrict_files = lambda *_, **__: None"
    assert "no_pen" in broken(looked_up(before=without))


def test_a_second_thread_is_noticed() -> None:
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True)"
    assert "one_thread" in broken(looked_up(before=f"{thread}.start()"))


def test_memory_that_is_not_locked_is_noticed_with_its_remedy() -> None:
    found = looked_up(before="sandbox.lock_memory = lambda: None")
    assert not found["memory_locked"].holds
    assert "LimitMEMLOCK" in found["memory_locked"].remedy


@pytest.mark.parametrize(
    "limit",
    [
        # without privilege and with 64 KB the kernel refuses to lock at all
        "import ctypes; ctypes.CDLL(None).unshare(0x10000000); "
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))",
        # what is there can be locked, but a model that is loaded later would find no room
        "resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))",
    ],
)
def test_a_low_limit_is_reported_and_breaks_nothing(limit: str) -> None:
    assert not looked_up(before=f"import resource; {limit}")["memory_locked"].holds


def test_without_a_compiler_the_fallback_is_chosen_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrivacyError, match="no C compiler"):
        native.build()
    assert launcher.environment("vision")["GLIBC_TUNABLES"] == launcher.FILL_ON_FREE
    found = looked_up()
    assert broken(found) == {"zero_on_free", "stack_scrub"}
    assert "make native" in found["zero_on_free"].remedy


def test_strict_refuses_and_names_every_remedy() -> None:
    good, bad = Guarantee("no_core", True), Guarantee("no_pen", False, "mend it")
    guarantees.require([good])
    with pytest.raises(PrivacyError, match="not guaranteed: no_pen") as refused:
        guarantees.require([good, bad])
    assert refused.value.remedy == "mend it"


def test_doctor_needs_neither_camera_nor_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in native.NAMES:
        library = native.library(name)
        assert library
        place = tmp_path / "native" / library.name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(library.read_bytes())
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    found = guarantees.doctor(settings.check({"source": {"uri": "/dev/video99"}}))
    assert broken({guarantee.name: guarantee for guarantee in found}) == set()


def test_the_device_key_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "device.key").write_text("secret")
    current = settings.check({"identity": {"directory": str(tmp_path)}})
    assert "keys_out_of_reach" not in broken(looked_up(current=current))
    open_again = "sandbox.restrict_files = lambda *_, **__: None"
    assert "keys_out_of_reach" in broken(looked_up(current=current, before=open_again))
