"""Settings: every wrong key is named by its path, and the twin may touch only its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as fuzz
from hypothesis import strategies as st

from firmware import settings
from firmware.errors import ConfigError

WRONG = {
    "unknown section": ({"sources": {}}, "sources"),
    "unknown key": ({"source": {"url": "x"}}, "source.*url"),
    "wrong type": ({"detection": {"score": "high"}}, "detection.score"),
    "number out of range": ({"detection": {"score": 1.5}}, "detection.score"),
    "width not a multiple of 32": ({"detection": {"width_px": 450}}, "detection.width_px"),
    "rounding finer than a minute": ({"privacy": {"time_rounding_s": 1}}, "time_rounding_s"),
    "unknown choice": ({"policy": {"context": "casino"}}, "policy.context"),
    "expression at work": ({"policy": {"context": "workplace"}}, "expression"),
    "expression at school": (
        {"policy": {"context": "education", "expression": True}},
        "expression",
    ),
    "zone with a point of three": ({"interactions": {"zone": [[0, 0, 0]]}}, "interactions.zone"),
}


@pytest.mark.parametrize(("tree", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_setting_is_refused_by_name(tree: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        settings.check(tree)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"a = ", "not TOML"), (b"\xff\xfe", "UnicodeDecodeError"), (b"[hub]\nprot = 1", "prot")],
)
def test_broken_file_is_refused(tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "sensor.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=named):
        settings.load(file)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        settings.load(tmp_path / "sensor.toml")


def test_workplace_without_expression_is_allowed() -> None:
    checked = settings.check({"policy": {"context": "workplace", "expression": False}})
    assert checked.policy.context == "workplace"


GIVEN = settings.check({"detection": {"score": 0.4}, "interactions": {"minimum_dwell_s": 2.0}})


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"detection": {"score": None}}, {"detection": {"score": 0.4}}),
        (
            {"interactions": None},
            {"interactions": {"minimum_dwell_s": 2.0, "minimum_face_px": 20, "zone": ()}},
        ),
        ({"health": {"every_s": 60.0}}, {"health": {"every_s": 60.0}}),
        ({"privacy": None}, {"privacy": {}}),  # nothing of it may be changed
        ({"privacy": {"strict": None}}, {"privacy": {"strict": False}}),  # which is then refused
        ({"colour": {"red": None}}, {"colour": {"red": None}}),  # as is this
        ({"detection": 7}, {"detection": 7}),
    ],
)
def test_null_in_the_twin_brings_the_files_value_back(
    patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert settings.filled(patch, GIVEN) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
)
SECTION = st.sampled_from([*settings.builtins(GIVEN), "colour", ""])
KEY = st.sampled_from([*sorted({key.partition(".")[2] for key in settings.TWIN_KEYS}), "strict"])


@fuzz(derandomize=True, deadline=None, max_examples=100)
@given(st.dictionaries(SECTION, JSON | st.dictionaries(KEY, JSON, max_size=2), max_size=3))
def test_any_patch_is_applied_or_refused(patch: dict[str, Any]) -> None:
    try:
        changed = settings.patched(GIVEN, settings.filled(patch, GIVEN))
    except ConfigError:
        return
    assert (changed.privacy, changed.policy, changed.sealing, changed.hub) == (
        *(GIVEN.privacy, GIVEN.policy, GIVEN.sealing, GIVEN.hub),
    )


def test_a_section_that_the_twin_has_emptied_is_no_change() -> None:
    """Azure leaves an empty object where the last key was deleted."""
    assert settings.patched(GIVEN, {"detection": {}, "privacy": {}}) == GIVEN


def test_twin_changes_what_it_may() -> None:
    changed = settings.patched(settings.Settings(), {"detection": {"score": 0.7}})
    assert changed.detection.score == 0.7
    assert changed.detection.width_px == settings.Settings().detection.width_px


@pytest.mark.parametrize(
    "patch",
    [
        {"privacy": {"strict": False}},
        {"policy": {"context": "retail"}},
        {"sealing": {"recipient": "/other"}},
        {"hub": {"host": "elsewhere"}},
        {"detection": {"score": 0.7, "width_px": 640}},
        {"tracking": {"max_lost_s": 86_400}},  # nobody would ever be forgotten
        {"detection": 5},
        {"detection": None},
        {"nothing": {}},
        {"interactions": {"zone": "all"}},
        {"detection": {"score": 2}},
    ],
)
def test_twin_changes_nothing_else(patch: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        settings.patched(settings.Settings(), patch)


def test_builtins_survive_the_way_to_another_process() -> None:
    current = settings.check({"interactions": {"zone": [[0, 0], [1, 0], [1, 1]]}})
    assert settings.check(settings.builtins(current)) == current


def test_device_id_comes_from_the_identity_partition(tmp_path: Path) -> None:
    (tmp_path / "device").write_text("flow-0001\n")
    assert settings.device_id(settings.Identity(directory=str(tmp_path))) == "flow-0001"


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "x" * 65, "-begins"])
def test_device_id_that_the_cloud_would_refuse_is_refused_here(tmp_path: Path, name: str) -> None:
    (tmp_path / "device").write_text(name)
    with pytest.raises(ConfigError, match="device id"):
        settings.device_id(settings.Identity(directory=str(tmp_path)))
