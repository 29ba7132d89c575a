"""The supervisor with real processes: nothing sealed is lost, no number is used twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware import deadline, launcher, messages, supervisor, ward
from firmware.errors import CameraError, PrivacyError, ProvisioningError
from firmware.settings import check
from firmware.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
Keeper = Callable[..., "Run"]


class Run:
    """A supervisor over stand-in children, and what these noted."""

    def __init__(self, folder: Path, vision: dict[str, Any], uplink: dict[str, Any]) -> None:
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []
        self.scripts = {
            name: {"notes": str(folder / name), **script}
            for name, script in (("vision", vision), ("uplink", uplink))
        }
        self.keeper = Supervisor(
            check({"identity": {"directory": str(folder)}, **vision.pop("settings", {})}),
            device="flow-0001",
            recipient_key=b"",
            start=self.start,
        )

    def start(self, name: launcher.Name) -> launcher.Child:
        ours, theirs = messages.pair()
        with theirs:
            descriptor = str(theirs.fileno())
            program = [sys.executable, "-m", "tests.integration.children", name, descriptor]
            child = subprocess.Popen(
                [*program, json.dumps(self.scripts[name])],
                pass_fds=(theirs.fileno(),),
                cwd=ROOT,
                start_new_session=True,
            )
        self.children.append(child)
        return launcher.Child(child, ours)

    def until(self, *numbers: int) -> None:
        """Run until the hub has these numbers, then stop as SIGTERM does."""

        self.when(lambda: set(numbers) <= set(self.delivered))

    def when(self, done: Callable[[], bool]) -> None:
        """Run until `done`, then stop as SIGTERM does."""

        def wait() -> None:
            while not done():
                threading.Event().wait(0.02)
            self.keeper.stop("test")

        threading.Thread(target=wait, daemon=True).start()
        self.keeper.run()

    def notes(self, name: str, kind: str) -> list[Any]:
        file = self.folder / name
        text = file.read_text() if file.exists() else ""
        lines = text.rpartition("\n")[0].splitlines()  # the last one may be half written
        found = [json.loads(line) for line in lines]
        return [[number, extra] for tag, number, extra in found if tag == kind]

    @property
    def delivered(self) -> list[int]:
        return [number for number, _ in self.notes("uplink", "Deliver")]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(ward, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(supervisor, "TICK_S", 0.02)
    return lambda vision=None, uplink=None: Run(tmp_path, vision or {}, uplink or {})


def test_records_of_a_clip_arrive_in_order_and_the_sensor_ends(keep: Keeper) -> None:
    run = keep({"seal": 5, "then": "end"})
    run.keeper.run()
    assert run.delivered == [1, 2, 3, 4, 5]
    assert run.keeper.outbox.delivered == 5 and len(run.keeper.outbox) == 0


def test_stop_seals_what_is_open_and_drains_it(keep: Keeper) -> None:
    run = keep({"seal": 1, "seal_at_stop": True})
    run.until(1)
    assert run.delivered == [1, 2]


def test_crashed_vision_is_replaced_and_goes_on_with_the_next_number(keep: Keeper) -> None:
    run = keep({"turns": [{"seal": 2, "then": "crash"}, {"seal": 2, "then": "end"}]})
    run.keeper.run()
    assert run.delivered == [1, 2, 3, 4]


def test_vision_that_breaks_the_contract_is_replaced(keep: Keeper) -> None:
    run = keep({"turns": [{"seal": 1, "then": "garbage"}, {"seal": 1, "then": "end"}]})
    run.keeper.run()
    assert run.delivered == [1, 2]


def test_uplink_that_dies_unacknowledged_gets_everything_again(keep: Keeper) -> None:
    run = keep({"seal": 6, "then": "end"}, {"turns": [{"acknowledge": 2}, {}]})
    run.keeper.run()
    assert run.delivered[:3] == [1, 2, 3]
    assert run.delivered[3:] == [3, 4, 5, 6]
    assert run.keeper.outbox.delivered == 6


def test_hub_that_is_not_there_at_first_gets_the_records_later(keep: Keeper) -> None:
    absent = {"fail": ["UplinkError", "no hub"]}
    run = keep({"seal": 3, "then": "wait"}, {"turns": [absent, absent, {}]})
    (run.folder / "numbers").write_text("0\n")
    run.until(1, 2, 3)
    assert run.delivered == [1, 2, 3]


def test_device_without_a_number_file_waits_for_the_twin(keep: Keeper) -> None:
    run = keep({"seal": 1, "then": "end"}, {"mark": 5000})
    run.keeper.run()
    assert run.delivered == [5001]


def test_twin_ahead_of_a_restored_file_voids_the_lease(keep: Keeper) -> None:
    run = keep({"turns": [{}, {"seal": 1, "then": "end"}]}, {"mark": 5000})
    (run.folder / "numbers").write_text("256\n")
    run.keeper.run()
    assert run.delivered == [5001]


def test_missing_camera_at_the_first_start_ends_the_sensor(keep: Keeper) -> None:
    run = keep({"fail": ["CameraError", "camera /dev/video9 is not there"]})
    with pytest.raises(CameraError, match="video9") as caught:
        run.keeper.run()
    assert caught.value.remedy == "mend it"


def test_camera_lost_later_is_retried(keep: Keeper) -> None:
    lost = {"fail": ["CameraError", "lost"]}
    run = keep({"turns": [{"seal": 1, "then": "crash"}, lost, {"seal": 1, "then": "end"}]})
    run.keeper.run()
    assert run.delivered == [1, 2]


def test_broken_guarantee_stops_the_sensor_even_after_it_worked(keep: Keeper) -> None:
    broken = {"fail": ["PrivacyError", "memory is not locked"]}
    run = keep({"turns": [{"seal": 1, "then": "crash"}, broken]})
    with pytest.raises(PrivacyError, match="not locked"):
        run.keeper.run()
    assert run.delivered == [1], "what was sealed before still has to arrive"


def test_refused_identity_ends_the_sensor(keep: Keeper) -> None:
    run = keep({}, {"fail": ["ProvisioningError", "certificate expired"]})
    with pytest.raises(ProvisioningError, match="expired"):
        run.keeper.run()


def test_full_outbox_drops_the_oldest_and_says_so(
    keep: Keeper, capfd: pytest.CaptureFixture[str]
) -> None:
    absent = {"fail": ["UplinkError", "no hub"]}
    run = keep(
        {"seal": 6, "settings": {"outbox": {"capacity": 4}}},
        {"turns": [absent, absent, absent, absent, {}]},
    )
    (run.folder / "numbers").write_text("0\n")
    run.until(3, 4, 5, 6)
    assert run.delivered == [3, 4, 5, 6]
    assert run.keeper.outbox.dropped == 2
    assert '"dropped_total": 2' in capfd.readouterr().err


def test_desired_settings_are_applied_and_answered(keep: Keeper) -> None:
    run = keep({"seal": 1}, {"desired": {"detection": {"score": 0.7}}})
    run.until(1)
    assert run.keeper.settings.detection.score == 0.7
    reports = [
        patch["settings"] for _, patch in run.notes("uplink", "Report") if "settings" in patch
    ]
    assert reports == [{"version": 7, "rejected": None, "detection": {"score": 0.7}}]


def test_refused_settings_are_answered_with_the_reason(keep: Keeper) -> None:
    run = keep({"seal": 1}, {"desired": {"privacy": {"strict": False}}})
    run.until(1)
    reports = [
        patch["settings"] for _, patch in run.notes("uplink", "Report") if "settings" in patch
    ]
    assert reports[0]["version"] == 7 and "privacy.strict" in reports[0]["rejected"]


def test_methods_are_answered_and_reach_vision(keep: Keeper) -> None:
    run = keep({"seal": 1}, {"methods": ["ping", "pause", "resume", "selftest", "dance"]})
    run.when(lambda: len(run.notes("uplink", "MethodResult")) == 5)
    results = [status for _, status in run.notes("uplink", "MethodResult")]
    assert results == [200, 200, 200, 202, 404]
    for kind in ("Pause", "Resume", "SelfTest"):
        assert len(run.notes("vision", kind)) == 1, kind


def test_twin_never_shows_a_pause_that_a_restart_has_ended(keep: Keeper) -> None:
    run = keep({"seal": 1}, {"methods": ["pause"]})
    run.when(lambda: bool(run.notes("uplink", "MethodResult")))
    assert [patch["paused"] for _, patch in run.notes("uplink", "Report") if "paused" in patch] == [
        False,  # whatever the twin still said from before
        True,
    ]


def test_a_failed_selftest_is_told_before_the_sensor_stops(keep: Keeper) -> None:
    """Also when the hub is not there yet: who runs the fleet must hear why it is silent."""
    found = {
        "selftests": [[False, 3, 27, 400]],
        "fail": ["PrivacyError", "the self-test found 3 traces"],
    }
    run = keep(found, {"turns": [{"fail": ["UplinkError", "no hub"]}, {}]})
    (run.folder / "numbers").write_text("0\n")
    with pytest.raises(PrivacyError, match="3 traces"):
        run.keeper.run()
    ((_, health),) = run.notes("uplink", "Health")
    figure = {key: health[key] for key in health if key.startswith("selftest")}
    assert figure.pop("selftest_at_utc_s") > 1_700_000_000
    told = {"selftest": "failed", "selftest_hits": 3, "selftest_controls": 27}
    assert figure == {**told, "selftest_ms": 400}


def test_a_passed_selftest_outlasts_the_process_that_did_it(keep: Keeper) -> None:
    done = {"selftests": [[True, 0, 27, 400]], "seal": 1, "then": "crash"}
    run = keep({"turns": [done, {"seal": 1}], "settings": {"health": {"every_s": 1}}})

    def of_the_second() -> list[dict[str, Any]]:
        """Health records since the second process; on a busy machine others come before."""
        told = [health for _, health in run.notes("uplink", "Health")]
        return [health for health in told if health["restarts"]["vision"] == 1]

    run.when(lambda: bool(of_the_second()))
    health = of_the_second()[0]
    assert (health["selftest"], health["selftest_controls"]) == ("passed", 27)


CAMERA = {"source": {"uri": "/dev/video0"}, "privacy": {"recycle_after": 2}}


def test_a_successor_is_warm_before_vision_retires(keep: Keeper) -> None:
    looks = {"seal": 2, "healthy": True}
    run = keep({"turns": [looks, {"seal": 1}], "settings": CAMERA})
    run.until(1, 2, 3)
    assert run.delivered == [1, 2, 3], "it goes on with the next number"
    assert len(run.notes("vision", "Resume")) == 1
    health = run.keeper.health
    assert health.recycled == 1 and run.keeper.heir.starts == run.keeper.vision.starts == 1
    run.keeper._health_record()
    assert health.restarts["vision"] == 0, "nothing went wrong"


def test_a_successor_looks_with_the_models_that_an_update_tries(keep: Keeper) -> None:
    """And one that cannot is tried again, while vision looks on."""
    lost = {"fail": ["EngineError", "no model"]}
    turns = [{"seal": 1, "healthy": True}, lost, {"models": "1.1.0", "seal": 1, "healthy": True}]
    run = keep({"turns": turns, "settings": {"source": {"uri": "/dev/video0"}}})
    run.keeper.updates.models = "1.1.0"
    run.when(lambda: run.delivered == [1, 2] and run.keeper.health.recycled == 1)
    assert run.keeper.health.models == "1.1.0" and run.keeper.verdict is None
    assert run.keeper.updates._failures == 1
    assert run.keeper.heir.starts + run.keeper.vision.starts == 3, "one more would follow for ever"


@pytest.mark.parametrize("way", [{"lingers_s": [60]}, {}])
def test_the_successor_looks_as_soon_as_vision_has_let_go(
    way: dict[str, Any], keep: Keeper
) -> None:
    """Before that process has gone, or when it has gone without saying so."""
    run = keep({"turns": [{"seal": 2, "healthy": True, **way}, {"seal": 1}], "settings": CAMERA})
    run.until(1, 2, 3)
    assert run.delivered == [1, 2, 3]


def test_a_successor_that_fails_is_tried_again_and_vision_looks_on(keep: Keeper) -> None:
    lost = {"fail": ["EngineError", "no memory"]}
    turns = [{"seal": 2, "healthy": True}, lost, lost, {"seal": 1}]
    run = keep({"turns": turns, "settings": CAMERA})
    run.until(1, 2, 3)
    assert run.delivered == [1, 2, 3]
    assert run.keeper.verdict is None


def test_a_successor_without_its_guarantees_stops_the_sensor(keep: Keeper) -> None:
    broken = {"fail": ["PrivacyError", "memory is not locked"]}
    run = keep({"turns": [{"seal": 2, "healthy": True}, broken], "settings": CAMERA})
    with pytest.raises(PrivacyError, match="not locked"):
        run.keeper.run()
    assert run.delivered == [1, 2]


def test_a_paused_sensor_s_successor_keeps_the_camera_closed(keep: Keeper) -> None:
    looks = {"seal": 2, "healthy": True}
    run = keep({"turns": [looks, {"seal": 1}], "settings": CAMERA}, {"methods": ["pause"]})
    run.when(lambda: run.keeper.health.recycled == 1 and run.keeper.vision.ready)
    assert not run.notes("vision", "Resume") and run.delivered == [1, 2]


def test_a_clip_is_not_recycled(keep: Keeper) -> None:
    looks = {"seal": 4, "healthy": True, "settings": {"privacy": {"recycle_after": 2}}}
    run = keep(looks)
    run.when(lambda: len(run.delivered) == 4 and run.keeper.health.vision.frames == 1)
    assert run.keeper.heir.starts == 0


def test_silent_child_is_replaced(keep: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "VISION_S", 1.0)
    run = keep({"turns": [{"seal": 1}, {"seal": 1, "then": "end"}]})
    run.keeper.run()
    assert run.delivered[:2] == [1, 2]


def test_sigterm_stops_in_order(keep: Keeper) -> None:
    run = keep({"seal": 1, "seal_at_stop": True})

    def later() -> None:
        while not run.delivered:
            threading.Event().wait(0.02)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=later, daemon=True).start()
    run.keeper.run()
    assert run.delivered == [1, 2]


def test_no_child_outlives_the_supervisor(keep: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "CLOSE_S", 0.1)
    run = keep({"seal": 1})

    def uplink_hangs() -> bool:
        if run.delivered:
            run.children[0].send_signal(signal.SIGSTOP)
        return bool(run.delivered)

    run.when(uplink_hangs)
    assert run.children[0].returncode == -signal.SIGKILL
    assert run.children[1].returncode is not None


def test_number_gap_after_a_restart_is_visible_and_bounded(keep: Keeper, tmp_path: Path) -> None:
    keep({"seal": 1, "then": "end"}).keeper.run()
    for file in tmp_path.glob("*.starts"):
        file.unlink()
    run = keep({"seal": 1, "then": "end"})
    run.keeper.run()
    assert run.delivered == [1, 257]
