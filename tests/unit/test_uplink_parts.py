"""The uplink's small parts: pauses, time limits, the twin's words, where the hub is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from firmware.errors import ProvisioningError, UplinkError
from firmware.uplink import twin
from firmware.uplink.backoff import Backoff
from firmware.uplink.registration import CACHE_FILE, Registration
from firmware.uplink.watch import Watch


def test_pauses_grow_to_the_limit_and_start_over_after_a_success() -> None:
    backoff = Backoff(5.0, 300.0)
    draws = [[Backoff.next_s(backoff) for _ in range(12)], []]
    assert all(0 <= pause <= 2 * min(5.0 * 2**n, 300.0) for n, pause in enumerate(draws[0]))
    assert backoff.failures == 12
    backoff.succeeded()
    assert backoff.next_s() <= 10.0


def test_pauses_of_many_devices_spread_evenly() -> None:
    """200 devices that lose one hub: in no second come back more than a tenth of them."""
    seconds = [int(Backoff(5.0, 300.0).next_s()) for _ in range(2000)]
    assert max(seconds.count(second) for second in range(10)) < len(seconds) / 10 * 1.4


def test_a_very_long_outage_does_not_overflow() -> None:
    backoff = Backoff(5.0, 300.0)
    backoff.failures = 10_000
    assert backoff.next_s() <= 600.0


def test_the_watch_tells_of_a_call_that_takes_too_long() -> None:
    watch = Watch()
    assert watch.overdue_s == 0
    with watch.over(60):
        assert watch.overdue_s == 0
        with watch.over(0):
            time.sleep(0.01)
            assert watch.overdue_s > 0
        assert watch.overdue_s == 0
    assert watch.overdue_s == 0


def test_the_watch_forgets_a_call_that_failed() -> None:
    watch = Watch()
    with pytest.raises(OSError, match="x"), watch.over(0):
        raise OSError("x")
    assert watch.overdue_s == 0


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"$version": 4, "detection": {"score": 0.6}}, (4, "", "", {"detection": {"score": 0.6}})),
        ({"$version": 1, "identity": {"certificate": "PEM"}}, (1, "PEM", "", {})),
        ({"$version": 1, "recipient": {"statement": "{}"}}, (1, "", "{}", {})),
        ({"identity": "nonsense", "recipient": {"statement": 5}}, (0, "", "", {})),
        ({"$version": "1", "$metadata": {}}, (0, "", "", {})),
        ({"$version": True}, (0, "", "", {})),
    ],
)
def test_desired_properties_are_taken_apart(properties: dict[str, Any], expected: object) -> None:
    assert twin.parse(properties) == expected


@pytest.mark.parametrize(
    ("reported", "mark"),
    [
        ({"numbers": 512}, 512),
        ({}, 0),
        ({"numbers": -1}, 0),
        ({"numbers": "512"}, 0),
        ({"numbers": 1.5}, 0),
        ({"numbers": True}, 0),
        ({"numbers": 1 << 64}, 0),
    ],
)
def test_only_a_sound_mark_of_numbers_counts(reported: dict[str, Any], mark: int) -> None:
    assert twin.high_water(reported) == mark


class Service:
    """A registration service that assigns `hub-1`, `hub-2` … and counts."""

    def __init__(self) -> None:
        self.asked = self.first_contacts = 0
        self.down = False

    def ask(self) -> str:
        if self.down:
            raise UplinkError("the registration service is down", remedy="")
        self.asked += 1
        return f"hub-{self.asked}"

    def first_contact(self) -> None:
        self.first_contacts += 1

    def registration(self, folder: Path, scope: str = "scope", fixed: str = "") -> Registration:
        return Registration(fixed, scope, folder, self.ask, self.first_contact)


def test_only_the_first_contact_of_a_new_device_is_staggered(tmp_path: Path) -> None:
    service = Service()
    registration = service.registration(tmp_path)
    assert registration.hub() == registration.hub() == "hub-1"
    assert service.registration(tmp_path).hub() == "hub-1"
    assert (service.asked, service.first_contacts) == (1, 1)


def test_a_second_attempt_is_not_staggered_again(tmp_path: Path) -> None:
    service = Service()
    registration = service.registration(tmp_path)
    service.down = True
    for _ in range(3):
        with pytest.raises(UplinkError):
            registration.hub()
    assert service.first_contacts == 1


def test_another_scope_makes_the_cache_worthless(tmp_path: Path) -> None:
    service = Service()
    service.registration(tmp_path).hub()
    assert service.registration(tmp_path, scope="other").hub() == "hub-2"


def test_nine_failures_keep_the_hub_and_the_tenth_drops_it(tmp_path: Path) -> None:
    service = Service()
    registration = service.registration(tmp_path)
    registration.hub()
    for _ in range(9):
        registration.failed(refused=False)
    assert registration.hub() == "hub-1"
    registration.failed(refused=False)
    assert registration.hub() == "hub-2"


def test_a_success_between_failures_starts_the_count_over(tmp_path: Path) -> None:
    service = Service()
    registration = service.registration(tmp_path)
    registration.hub()
    for _ in range(30):
        registration.failed(refused=False)
        registration.connected()
    assert registration.hub() == "hub-1"


def test_a_fixed_hub_is_never_asked_for(tmp_path: Path) -> None:
    service = Service()
    registration = service.registration(tmp_path, fixed="here")
    registration.failed(refused=True)
    assert registration.hub() == "here"
    assert not registration.forget()
    assert service.asked == 0


def test_neither_hub_nor_scope_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ProvisioningError, match="no hub is known") as caught:
        Service().registration(tmp_path, scope="").hub()
    assert "id_scope" in caught.value.remedy


def test_a_cache_that_cannot_be_kept_is_no_reason_to_stop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / (CACHE_FILE + ".new")).mkdir()
    assert Service().registration(tmp_path).hub() == "hub-1"
    assert "registration_not_kept" in capfd.readouterr().err
