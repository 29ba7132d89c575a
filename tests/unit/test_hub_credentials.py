"""Which proofs a hub believes."""

from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub.credentials import (
    anchor,
    check_keys,
    check_name,
    common_name,
    derived_key,
    thumbprints,
    token_expiry,
)
from provisioning.authority import Authority
from tests.unit.hub_identities import KEY, OTHER_KEY, chain, self_signed, token

fuzz = settings(derandomize=True, deadline=None, max_examples=200)

ROOT = Authority.root("Root")
BATCH = ROOT.batch("Batch")
DEVICE = chain(BATCH, "dev1")
NOW = time.time()


def test_a_chain_leads_to_its_authorities_and_to_itself() -> None:
    stranger = Authority.root("Root").certificate
    for trusted in (ROOT.certificate, BATCH.certificate, DEVICE[0]):
        assert anchor(DEVICE, [stranger, trusted], NOW) == trusted
    assert anchor(DEVICE, [stranger], NOW) is None
    assert anchor(DEVICE, [], NOW) is None
    assert anchor((), [ROOT.certificate], NOW) is None


def test_a_chain_with_a_hole_leads_no_further() -> None:
    assert anchor(DEVICE[:1], [ROOT.certificate], NOW) is None
    assert anchor(DEVICE[:1], [BATCH.certificate], NOW) == BATCH.certificate


def test_order_and_strangers_in_a_chain_do_not_matter() -> None:
    muddled = (DEVICE[0], self_signed("other")[0], ROOT.certificate, *DEVICE[1:])
    assert anchor(muddled, [ROOT.certificate], NOW) == ROOT.certificate


@pytest.mark.parametrize("days", [-2, 31])
def test_a_chain_that_is_not_valid_at_the_time_leads_nowhere(days: int) -> None:
    then = NOW + datetime.timedelta(days=days).total_seconds()
    assert anchor(DEVICE, [BATCH.certificate], then) is None


def test_a_registered_device_cannot_vouch_for_another() -> None:
    registered, key = self_signed("dev1")
    forged = chain(Authority(registered, key, (registered,)), "dev2")
    assert forged[1] == registered
    assert anchor(forged, [registered], NOW) is None


def test_a_certificate_with_another_s_name_is_not_that_one() -> None:
    mine, _ = self_signed("dev1")
    other, _ = self_signed("dev1")
    assert common_name(mine) == common_name(other) == "dev1"
    assert anchor((mine,), [other], NOW) is None
    assert not thumbprints(mine) & thumbprints(other)


def test_a_token_ends_when_it_says() -> None:
    made = token("hub/devices/dev1", KEY, NOW + 60)
    assert token_expiry(made, "hub/devices/dev1", [OTHER_KEY, KEY], NOW) == int(NOW + 60)
    assert token_expiry(made, "HUB/devices/dev1", [KEY], NOW) == int(NOW + 60)
    assert token_expiry(made, "hub/devices/dev1", [KEY], NOW + 61) is None
    assert token_expiry(made, "hub/devices/dev2", [KEY], NOW) is None
    assert token_expiry(made, "hub/devices/dev1", [OTHER_KEY], NOW) is None
    assert token_expiry(made, "hub/devices/dev1", [], NOW) is None


@pytest.mark.parametrize(
    ("there", "instead"),
    [("&se=", "&se=9"), ("SharedAccessSignature", "Bearer"), ("&sig=", "&sig=!"), ("sr=", "s=")],
)
def test_an_altered_token_is_not_believed(there: str, instead: str) -> None:
    made = token("hub", KEY, NOW + 60).replace(there, instead)
    assert token_expiry(made, "hub", [KEY], NOW) is None


fields = st.fixed_dictionaries(
    {},
    optional={
        "sr": st.sampled_from(["hub", "", "%"]),
        "sig": st.text(max_size=8) | st.sampled_from(["AAAA", "%"]),
        "se": st.text(max_size=4) | st.integers().map(str),
    },
)


@fuzz
@given(st.one_of(st.text(), fields.map(lambda one: "&".join(f"{k}={v}" for k, v in one.items()))))
def test_any_text_is_no_token(text: str) -> None:
    assert token_expiry(text, "hub", [KEY], NOW) is None
    assert token_expiry(f"SharedAccessSignature {text}", "hub", [KEY], NOW) is None


def test_a_group_s_device_key_is_the_one_of_microsoft_s_example() -> None:
    # "How to provision devices using symmetric key enrollment groups", Microsoft, 2024
    group = (
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
    )
    device = derived_key(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
    assert device == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="


def test_names_and_keys_are_checked() -> None:
    check_name("Dev-1.a:b_c" + "x" * 117)
    check_keys([KEY, OTHER_KEY])
    for name in ("", "a b", "a/b", "x" * 129, "é"):
        with pytest.raises(ValueError):
            check_name(name)
    for key in ("", "a2V5", "!" * 24, KEY + "=" * 7):
        with pytest.raises(ValueError):
            check_keys([key])
