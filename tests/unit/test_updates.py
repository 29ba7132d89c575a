"""The supervisor's side of an update: requests, the updater's words, and the word `healthy`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import launcher, messages
from firmware.errors import ConfigError
from firmware.update.voice import Voice
from firmware.updates import Updates

ASKED = {"url": "https://updates.example/flow.raucb", "sha256": "a" * 64, "version": "1.1.0"}
TEXTS = (ASKED["url"], ASKED["sha256"], ASKED["version"])


class Updater:
    """Both ends of a channel: the test speaks as the updater."""

    pid = 4711

    def __init__(self) -> None:
        self.ours, self.theirs = messages.pair()
        self.made = [self.ours, self.theirs]
        self.started: list[str] = []
        self.killed = False

    def start(self, name: launcher.Name) -> launcher.Child:
        self.started.append(name)
        return launcher.Child(self, self.ours)

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def say(self, *states: messages.UpdateState) -> None:
        for state in states:
            messages.send(self.theirs, state)


@pytest.fixture
def updater() -> Iterator[Updater]:
    one = Updater()
    yield one
    for channel in one.made:
        channel.close()


@pytest.fixture
def updates(updater: Updater, tmp_path: Path) -> Updates:
    (tmp_path / "slot").mkdir()
    (tmp_path / "health").mkdir()
    return Updates(updater.start, slot=tmp_path / "slot", healthy=tmp_path / "health" / "healthy")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        "https://updates.example/flow.raucb",
        {**ASKED, "sha256": "A" * 64},
        {**ASKED, "sha256": "a" * 63},
        {**ASKED, "url": 7},
        {**ASKED, "url": "https://" + "a" * 3000},
        {**ASKED, "force": True},
    ],
)
def test_what_is_no_request_starts_nothing(updates: Updates, updater: Updater, asked: Any) -> None:
    with pytest.raises(ConfigError, match="update: "):
        updates.ask(asked)
    assert updates.called(asked)[0] == 400
    assert updates.turn(works=False) is None and updater.started == []


def test_request_is_taken_out_of_the_twins_settings(updates: Updates) -> None:
    patch: dict[str, Any] = {"update": dict(ASKED), "detection": {"score": 0.6}}
    updates.take_from(patch)
    assert patch == {"detection": {"score": 0.6}}
    updates.take_from(patch)  # nothing asked for, nothing wrong
    cleared: dict[str, Any] = {"update": None}
    updates.take_from(cleared)
    assert cleared == {}


def test_updater_is_started_once_and_its_words_are_reported(
    updates: Updates, updater: Updater
) -> None:
    updates.ask(ASKED)
    assert updates.turn(works=False) is None
    assert updater.started == ["update"]
    assert messages.receive(updater.theirs) == messages.StartUpdate(*TEXTS)
    updater.say(messages.UpdateState("downloading", "1.1.0", 40))
    assert updates.turn(works=False) == {
        "state": "downloading",
        "version": "1.1.0",
        "percent": 40,
        "error": None,
    }
    assert updates.turn(works=False) is None
    updater.say(messages.UpdateState("refused", "1.1.0", 0, "the bundle was altered"))
    updater.theirs.close()
    news = updates.turn(works=False)
    assert news and (news["state"], news["error"]) == ("refused", "the bundle was altered")
    assert updater.started == ["update"]


def test_updater_that_breaks_the_contract_is_ended(updates: Updates, updater: Updater) -> None:
    updates.ask(ASKED)
    updates.turn(works=False)
    updater.theirs.send(b"\xc1")
    updates.turn(works=False)
    assert updater.killed


def test_request_that_comes_meanwhile_waits(updates: Updates, updater: Updater) -> None:
    updates.ask(ASKED)
    updates.turn(works=False)
    updates.ask({**ASKED, "version": "1.2.0"})
    updates.turn(works=False)
    assert updater.started == ["update"]
    updater.theirs.close()
    updates.turn(works=False)
    updater.ours, updater.theirs = messages.pair()
    updater.made += updater.ours, updater.theirs
    updates.turn(works=False)
    started = messages.receive(updater.theirs)
    assert isinstance(started, messages.StartUpdate) and started.version == "1.2.0"


def test_device_without_an_updater_says_so(tmp_path: Path) -> None:
    def nobody(name: launcher.Name) -> launcher.Child:
        raise FileNotFoundError(name)

    updates = Updates(nobody, slot=tmp_path, healthy=tmp_path / "healthy")
    updates.ask(ASKED)
    news = updates.turn(works=False)
    assert news and news["error"] == "this device has no updater"


def test_slot_that_was_kept_is_reported(updater: Updater, tmp_path: Path) -> None:
    (tmp_path / "trial").touch()
    (tmp_path / "version").write_text("1.1.0\n")
    updates = Updates(updater.start, slot=tmp_path, healthy=tmp_path / "healthy")
    assert updates.turn(works=False) is None and updates.installed == "1.1.0"
    (tmp_path / "trial").unlink()
    news = updates.turn(works=False)
    assert news and (news["state"], news["version"]) == ("committed", "1.1.0")
    assert updates.turn(works=False) is None


def test_healthy_is_said_and_taken_back(updates: Updates, tmp_path: Path) -> None:
    file = tmp_path / "health" / "healthy"
    updates.turn(works=True)
    assert file.exists()
    updates.turn(works=False)
    assert not file.exists()


def test_on_a_laptop_nothing_is_said(tmp_path: Path, updater: Updater) -> None:
    updates = Updates(updater.start, slot=tmp_path / "no", healthy=tmp_path / "no" / "healthy")
    updates.turn(works=True)
    assert updates.installed == "" and list(tmp_path.iterdir()) == []


# ---- models alone --------------------------------------------------------------------------------

ALONE = {**ASKED, "part": "models"}


def words(updater: Updater) -> list[messages.AnyMessage]:
    """What the updater has been told since it was started."""
    updater.theirs.setblocking(False)
    heard: list[messages.AnyMessage] = []
    while True:
        try:
            message = messages.receive(updater.theirs)
        except BlockingIOError:
            return heard
        assert message is not None
        heard.append(message)


def test_models_on_trial_are_wanted_and_the_updater_is_told_how_they_do(
    updates: Updates, updater: Updater
) -> None:
    updates.ask(ALONE)
    updates.turn(works=True, models="1.0.0")
    updates.turn(works=True, models="1.0.0")
    assert words(updater) == [messages.StartUpdate(*TEXTS, part="models")]
    while_it_is_fetched = updates.models
    assert while_it_is_fetched is None
    updater.say(messages.UpdateState("trial", "1.1.0"))
    updates.turn(works=True, models="1.0.0")
    assert updates.models == "1.1.0"
    for works, models in ((True, "1.0.0"), (True, "1.0.0"), (False, "1.1.0"), (True, "1.1.0")):
        updates.turn(works=works, models=models)
    assert words(updater) == [
        messages.Works(works=True, models="1.0.0"),
        messages.Works(works=False, models="1.1.0"),
        messages.Works(works=True, models="1.1.0"),
    ]
    updater.say(messages.UpdateState("committed", "1.1.0"))
    state = updates.turn(works=True, models="1.1.0")
    assert state and state["state"] == "committed" and updates.models == "1.1.0"


def test_those_before_are_wanted_again_when_a_trial_fails(
    updates: Updates, updater: Updater
) -> None:
    updates.ask(ALONE)
    updates.turn(works=True, models="1.0.0")
    updater.say(
        messages.UpdateState("trial", "1.1.0"),
        messages.UpdateState("refused", "1.1.0", 0, "models 1.1.0 did not prove themselves"),
    )
    state = updates.turn(works=True, models="1.1.0")
    assert state and state["state"] == "refused" and updates.models == "1.0.0"


def test_refusal_before_a_trial_changes_nothing(updates: Updates, updater: Updater) -> None:
    updates.ask(ALONE)
    updates.turn(works=True, models="1.0.0")
    updater.say(messages.UpdateState("refused", "1.1.0", 0, "not signed"))
    updates.turn(works=True, models="1.0.0")
    assert updates.models is None


def test_updater_that_dies_in_a_trial_takes_the_models_with_it(
    updates: Updates, updater: Updater
) -> None:
    updates.ask(ALONE)
    updates.turn(works=True, models="")
    updater.say(messages.UpdateState("trial", "1.1.0"))
    updates.turn(works=True, models="")
    updater.theirs.close()
    updates.turn(works=True, models="1.1.0")
    assert updates.models == ""


def test_what_was_before_a_trial_does_not_count_in_it(updates: Updates, updater: Updater) -> None:
    updates.ask(ALONE)
    updates.turn(works=True, models="1.0.0")
    updater.say(messages.UpdateState("trial", "1.1.0"))
    updates.turn(works=True, models="1.0.0")
    updates.successor_failed()
    updates.turn(works=True, models="1.0.0")
    assert words(updater)[-1] == messages.Works(works=True, models="1.0.0", failures=1)
    updater.say(messages.UpdateState("refused", "1.1.0"))
    updates.turn(works=True, models="1.0.0")
    updater.theirs.close()
    updater.ours, updater.theirs = messages.pair()
    updater.made += [updater.ours, updater.theirs]
    updates.turn(works=True, models="1.0.0")  # the one before has ended
    updates.ask({**ALONE, "sha256": "b" * 64})
    for _ in range(3):
        updates.turn(works=True, models="1.0.0")
    assert [type(word) for word in words(updater)] == [messages.StartUpdate]
    updater.say(messages.UpdateState("trial", "1.1.0"))
    updates.turn(works=True, models="1.0.0")
    updates.turn(works=True, models="1.0.0")
    assert words(updater) == [messages.Works(works=True, models="1.0.0")]


def test_each_percentage_of_a_download_is_told_once() -> None:
    said: list[messages.UpdateState] = []
    voice = Voice(said.append, "1.4.0")
    for fetched in range(1000):
        voice.progress(fetched, 1000)
    assert [state.percent for state in said] == list(range(100))
    assert {(state.state, state.version) for state in said} == {("downloading", "1.4.0")}
