"""The proof's own parts: a planted trace is found, whatever copies it, and nothing else is."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firmware.vision import native
from hil.traces import account, visitors
from hil.traces.cost import Cost
from hil.traces.difference import Comparison, Snapshot
from hil.traces.needles import Hit, Index
from hil.traces.proof import Differences, Outcome
from hil.traces.stepping import Held
from hil.traces.visits import Findings

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    native.build()


def picture(size: int = 4096) -> bytes:
    return RNG.integers(0, 256, size, np.uint8).tobytes()


def index_of(content: bytes, *, words: int = 2, step: int = 1) -> Index:
    index = Index(1 << 16)
    index.add("pixels", np.frombuffer(content, np.uint8), words=words, step=step)
    return index


@pytest.mark.parametrize("offset", range(8))
def test_a_copy_is_met_wherever_it_stands(offset: int) -> None:
    content = picture()
    found = index_of(content).search_bytes(bytes(offset) + content[100:116] + bytes(16))
    assert found == {"pixels": 1}


def test_other_bytes_are_not_met() -> None:
    assert index_of(picture()).search_bytes(picture(1 << 20)) == {}


def test_what_repeats_itself_tells_nothing() -> None:
    assert index_of(bytes([1, 2, 3, 4]) * 100).counts == {"pixels": 0}


def test_memory_of_a_process_is_searched() -> None:
    content = np.frombuffer(picture(), np.uint8)
    index = Index(1 << 16)
    index.add("kept", content, words=2, step=16)
    gone = RNG.integers(0, 256, 4096, np.uint8)
    index.add("gone", gone, words=2, step=16)
    gone.fill(0)
    assert sum(hit.hits for hit in index.search(os.getpid()) if hit.kind == "kept") >= 255
    assert not [hit for hit in index.search(os.getpid()) if hit.kind == "gone"]


def test_what_is_kept_outlasts_a_clearing() -> None:
    kept, cleared = picture(), picture()
    index = index_of(kept)
    index.keep()
    index.add("later", np.frombuffer(cleared, np.uint8), words=2, step=1)
    index.clear()
    assert index.search_bytes(cleared) == {}
    assert index.search_bytes(kept[:16]) == {"pixels": 1}


def test_what_is_there_for_another_reason_is_no_trace_any_more() -> None:
    content = picture()
    index = index_of(content)
    index.add("empty", np.frombuffer(picture(), np.uint8), words=2, step=1)
    common = np.frombuffer(content[96:128], np.uint8)
    assert index.recast("empty", common, words=2, step=1) == 17
    assert index.search_bytes(content[96:112]) == {"empty": 1}
    assert index.search_bytes(content[128:144]) == {"pixels": 1}


# ---- turns ---------------------------------------------------------------------------------------


def test_a_message_makes_no_turn() -> None:
    code = """if True:
        import select, socket
        channel = socket.socket(fileno={})
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        turn = channel.recv(16)[0]
        while True:
            turn += 1
            channel.send(bytes([turn]))
            while poll.poll(0):
                channel.recv(16)
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        theirs,
        subprocess.Popen(
            [sys.executable, "-c", code.format(theirs.fileno())], pass_fds=[theirs.fileno()]
        ) as child,
    ):
        ours.send(bytes([0]))
        with Held(child.pid) as held:
            held.to_poll()
            ours.send(b"a message")
            ours.send(b"another")
            held.turn()
            assert _all(ours) == [1, 2]
            held.turn(2)
            assert _all(ours) == [3, 4]
            child.terminate()
            held.turn()


def _all(channel: socket.socket) -> list[int]:
    """What has come meanwhile."""
    came: list[int] = []
    channel.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            came.append(channel.recv(1)[0])
    return came


# ---- the byte difference -------------------------------------------------------------------------


def memory(*words: int, start: int = 0x1000) -> Snapshot:
    return {start: ("[heap]", np.array(words, np.uint64))}


def test_bytes_that_follow_the_pixels_are_counted() -> None:
    found = Comparison(memory(1, 2, 3), memory(1, 2, 3)).difference(memory(1, 0x0505, 3))
    assert (found.total, found.places) == (2, (("[heap]", 0x1008, 2),))
    assert (found.within("[heap]"), found.within("[stack]")) == (2, 0)


def test_a_word_that_varies_by_itself_is_noise() -> None:
    assert Comparison(memory(1, 2), memory(1, 9)).difference(memory(1, 7)).total == 0


def test_a_word_that_only_one_of_two_runs_changes_does_not_follow_the_clip() -> None:
    comparison = Comparison(memory(1, 2), memory(1, 2))
    assert comparison.difference(memory(1, 7), memory(1, 2)).total == 0
    assert comparison.difference(memory(1, 7), memory(1, 8)).total == 0
    assert comparison.difference(memory(1, 7), memory(1, 7)).total == 1


def test_a_mapping_that_only_the_other_clip_has_is_counted() -> None:
    other = memory(1) | memory(0x010203, start=0x9000)
    assert Comparison(memory(1), memory(1)).difference(other, other).total == 3


# ---- the clips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("interactions", range(1, 60, 7))
def test_a_programme_has_so_many_interactions(interactions: int) -> None:
    script = visitors.programme(interactions, seed=1)
    assert script.interactions == interactions
    assert len(script.visitors) == interactions
    assert all(visitor.last <= script.frames for visitor in script.visitors)


def test_a_programme_has_every_circumstance() -> None:
    visits = visitors.programme(50, seed=1).visits
    assert any(visit.interactions > 1 for visit in visits)
    assert any(visit.others for visit in visits)
    assert visitors.programme(3, seed=1, begins=4).visits[0].others


def test_other_pixels_change_no_place_in_the_file(tmp_path: Path) -> None:
    script = visitors.programme(1, seed=1)._replace(frames=visitors.LEAD + 2)
    files = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for seed, file in enumerate(files):
        visitors.write(file, script, seed=seed, level=True)
    first, second = (file.read_bytes() for file in files)
    assert len(first) == len(second)
    assert first != second


# ---- the account ---------------------------------------------------------------------------------


def found(**changes: object) -> account.Account:
    findings = Findings(interactions=9, visits=7, complete=9, ways_control=12)
    findings.needles["frame.pixels"] = 1_000_000
    findings.hits["during"]["frame.pixels"] = 200_000
    outcome = Outcome(findings, 9, {"numbers"}, 0, {"no_pen": True})
    whole = account.Account(
        outcome,
        Differences(0, 0, 2_000_000, 9_000, 0, ()),
        core=False,
        written=[],
        uncovered=[],
        control=3,
        cost=Cost(1.0, 20.0, 50.0, 40, 170.0, 150.0, 21, 0),
    )
    for name, value in changes.items():
        owner = next(o for o in (whole, outcome, findings) if hasattr(o, name))
        object.__setattr__(owner, name, value)
    return whole


def broken(whole: account.Account) -> list[str]:
    return [line.promise for line in account.lines(whole) if not line.kept]


def test_every_promise_is_kept_when_it_is() -> None:
    assert broken(found()) == []
    assert "BROKEN" not in account.table(account.lines(found()))


@pytest.mark.parametrize(
    "change",
    [
        {"interactions": 8},
        {"complete": 8},
        {"places": [("vision", "after", Hit("frame.pixels", 1, "[heap]", 4096))]},
        {"ways_control": 0},
        {"bytes_left": Differences(17, 0, 2_000_000, 9_000, 0, ())},
        {"bytes_left": Differences(0, 1, 2_000_000, 9_000, 0, ())},
        {"bytes_left": Differences(0, 0, 999_999, 9_000, 0, ())},
        {"bytes_left": Differences(0, 0, 2_000_000, 0, 0, ())},
        {"bytes_left": Differences(0, 0, 2_000_000, 9_000, 17, ())},
        {"core": True},
        {"written": [Path("/home/somebody/trace")]},
        {"uncovered": [Path("/home")]},
        {"control": 2},
        {"kept_files": {"numbers", "visitors.db"}},
        {"swap_bytes": 4096},
        {"said": {"wire": 1, "log": 0, "disk": 0}},
        {"said": {"wire": 0, "log": 1, "disk": 0}},
        {"said": {"wire": 0, "log": 0, "disk": 1}},
        {"guarantees": {"no_pen": False}},
        {"guarantees": {}},
        {"cost": Cost(3.1, 20.0, 50.0, 40, 170.0, 150.0, 21, 0)},
        {"cost": Cost(1.0, 20.0, 60.1, 40, 170.0, 150.0, 21, 0)},
        {"cost": Cost(1.0, 20.0, 50.0, 40, 170.0, 150.0, 21, 1)},
    ],
)
def test_a_broken_promise_is_one_line_of_the_table(change: dict[str, object]) -> None:
    whole = found(**change)
    assert len(broken(whole)) == 1
    assert account.table(account.lines(whole)).count("BROKEN") == 1


def test_what_the_machine_does_not_allow_is_said_and_breaks_nothing() -> None:
    whole = found(guarantees={"no_pen": True, "memory_locked": False})
    assert broken(whole) == []
    assert "not memory_locked" in account.table(account.lines(whole))


def test_the_report_has_the_keys_that_others_read() -> None:
    figures = account.figures(found())
    assert set(figures) - {"details"} == {
        "interactions",
        "hits_after_wipe",
        "controls_found",
        "ab_difference_bytes",
        "ab_null_bytes",
        "ab_no_wipe_bytes",
        "files_changed",
        "swap_bytes",
        "guarantees",
        "wipe_ms_p95",
        "frame_cost_percent",
    }
