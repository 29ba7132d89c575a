"""What DPS makes of a registrant's packets, without any transport."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub import mqtt
from hil.local_hub.credentials import Chain, derived_key, thumbprints
from hil.local_hub.dps import Provisioning
from hil.local_hub.enrolment import Enrolment, Registrant
from hil.local_hub.iot_hub import IotHub, RefusedError
from provisioning.authority import Authority
from tests.unit.hub_identities import KEY, OTHER_KEY, chain, self_signed, token

fuzz = settings(derandomize=True, deadline=None, max_examples=200)

NOW = time.time()
BATCH = Authority.root("Root").batch("Batch")
CERTIFIED = chain(BATCH, "dev1")
OWN, _ = self_signed("dev1")
SCOPE = "0ne001"


def service(*enrolments: Enrolment, hubs: tuple[str, ...] = ("hub",), polls: int = 1) -> Any:
    made = Provisioning(
        SCOPE, {name: IotHub(name) for name in hubs}, lambda: NOW, polls=polls, retry_after_s=3
    )
    made.enrolments = {one.name: one for one in enrolments}
    return made


def connect(name: str, password: str = "", scope: str = SCOPE) -> mqtt.Connect:
    user = f"{scope}/registrations/{name}/api-version=2019-03-31&ClientVersion=py"
    return mqtt.Connect(name, user, password.encode() or None)


def ask(made: Provisioning, who: Registrant, what: str, payload: bytes = b" ") -> Any:
    """One request; gives (status, retry-after or None, body)."""
    answer = made.receive(who, mqtt.Publish(f"$dps/registrations/{what}", payload, 1, 1))
    head, _, query = answer.topic.partition("?")
    fields = dict(part.split("=") for part in query.split("&"))
    assert (head[:24], fields["$rid"]) == ("$dps/registrations/res/" + head[23], "9")
    return int(head.split("/")[3]), fields.get("retry-after"), json.loads(answer.payload)


def register(made: Provisioning, who: Registrant, payload: object = None) -> Any:
    """Ask until it is over; gives the last (status, body)."""
    wish = json.dumps({"registrationId": who.id, "payload": payload}).encode()
    status, wait, body = ask(made, who, "PUT/iotdps-register/?$rid=9", wish)
    while status == 202:
        assert (wait, body["status"]) == ("3", "assigning")
        query = f"GET/iotdps-get-operationstatus/?$rid=9&operationId={body['operationId']}"
        status, wait, body = ask(made, who, query)
    return status, body


def certified(name: str = "dev1", shown: Chain = CERTIFIED) -> Registrant:
    return Registrant(name, shown, "")


def signed(name: str, key: str, *, until: float = NOW + 60, scope: str = SCOPE) -> Registrant:
    return Registrant(name, (), token(f"{scope}/registrations/{name}", key, until))


GROUP = Enrolment("batch", group=True, certificates=(BATCH.certificate,))
KEY_GROUP = Enrolment("keys", group=True, keys=(KEY, OTHER_KEY))


@pytest.mark.parametrize(
    ("enrolment", "who"),
    [
        (GROUP, certified()),
        (Enrolment("dev1", certificates=(OWN,)), certified(shown=(OWN,))),
        (Enrolment("dev1", certificates=(CERTIFIED[0],)), certified()),
        (KEY_GROUP, signed("dev1", derived_key(KEY, "dev1"))),
        (KEY_GROUP, signed("dev1", derived_key(OTHER_KEY, "dev1"))),
        (Enrolment("dev1", keys=(OTHER_KEY, KEY)), signed("dev1", KEY)),
    ],
)
def test_a_device_is_assigned_and_entered_in_its_hub(enrolment: Enrolment, who: Registrant) -> None:
    made = service(enrolment)
    status, body = register(made, who)
    assert (status, body["status"]) == (200, "assigned")
    state = body["registrationState"]
    assert (state["assignedHub"], state["deviceId"]) == ("hub", "dev1")
    assert state["substatus"] == "initialAssignment"
    entry = made._hubs["hub"].devices["dev1"]
    if who.chain:
        assert set(entry.thumbprints) == thumbprints(who.chain[0])
    else:
        assert entry.keys == enrolment.device_keys("dev1")


@pytest.mark.parametrize(
    ("status", "enrolments", "who"),
    [
        (404, [], certified()),
        (404, [Enrolment("other", keys=(KEY,))], signed("dev1", KEY)),
        (401, [GROUP], certified("dev2")),
        (401, [GROUP], certified(shown=(OWN,))),
        (401, [GROUP], signed("dev1", KEY)),
        (401, [KEY_GROUP], signed("dev1", KEY)),
        (401, [KEY_GROUP], signed("dev1", derived_key(KEY, "dev2"))),
        (401, [KEY_GROUP], signed("dev1", derived_key(KEY, "dev1"), until=NOW - 1)),
        (401, [KEY_GROUP], signed("dev1", derived_key(KEY, "dev1"), scope="0ne002")),
        (401, [Enrolment("dev1", keys=(KEY,))], signed("dev1", OTHER_KEY)),
        (401, [Enrolment("dev1", certificates=(OWN,))], certified()),
        (401, [Enrolment("dev1", keys=(KEY,), enabled=False)], signed("dev1", KEY)),
        (401, [GROUP, Enrolment("dev1", certificates=(OWN,), enabled=False)], certified()),
        (401, [Enrolment("b", group=True, certificates=(OWN,))], certified()),
    ],
)
def test_without_a_fitting_proof_nothing_is_assigned(
    status: int, enrolments: list[Enrolment], who: Registrant
) -> None:
    made = service(*enrolments)
    answered, body = register(made, who)
    assert answered == status
    assert body["errorCode"] // 1000 == status
    assert made._hubs["hub"].devices == {}


def test_so_many_polls_until_assigned() -> None:
    made = service(GROUP, polls=3)
    wish = json.dumps({"registrationId": "dev1"}).encode()
    _, _, body = ask(made, certified(), "PUT/iotdps-register/?$rid=9", wish)
    query = f"GET/iotdps-get-operationstatus/?$rid=9&operationId={body['operationId']}"
    assert [ask(made, certified(), query)[0] for _ in range(4)] == [202, 202, 202, 200]


def test_nobody_sees_another_s_operation() -> None:
    made = service(GROUP)
    wish = json.dumps({"registrationId": "dev1"}).encode()
    _, _, body = ask(made, certified(), "PUT/iotdps-register/?$rid=9", wish)
    query = f"GET/iotdps-get-operationstatus/?$rid=9&operationId={body['operationId']}"
    assert ask(made, certified("dev2"), query)[0] == 404
    assert ask(made, certified(), query + "x")[0] == 404


def test_payloads_go_both_ways() -> None:
    made = service(Enrolment("dev1", keys=(KEY,), payload={"welcome": 1}))
    _, body = register(made, signed("dev1", KEY), {"site": "s1", "profile": "p"})
    assert body["registrationState"]["payload"] == {"welcome": 1}
    assert made.registrations["dev1"].payload == {"site": "s1", "profile": "p"}


def test_a_device_may_have_another_name_in_its_hub_and_a_first_twin() -> None:
    made = service(Enrolment("dev1", keys=(KEY,), device_id="door", desired={"a": 1}))
    _, body = register(made, signed("dev1", KEY))
    assert body["registrationState"]["deviceId"] == "door"
    assert made._hubs["hub"].devices["door"].desired.values == {"a": 1}


def test_devices_are_spread_over_hubs_and_stay_where_they_are() -> None:
    made = service(KEY_GROUP, hubs=("hub1", "hub2", "hub3"))

    def assigned() -> list[str]:
        names = [f"dev{number}" for number in range(60)]
        bodies = [register(made, signed(one, derived_key(KEY, one)))[1] for one in names]
        return [body["registrationState"]["assignedHub"] for body in bodies]

    first = assigned()
    assert all(first.count(name) >= 10 for name in ("hub1", "hub2", "hub3"))
    assert assigned() == first


@pytest.mark.parametrize(
    ("reprovision", "twin", "substatus"),
    [
        ("keep_twin", {"seen": 1}, "deviceDataMigrated"),
        ("reset_twin", {}, "deviceDataReset"),
    ],
)
def test_a_device_moves_with_or_without_its_twin(
    reprovision: Any, twin: dict[str, Any], substatus: str
) -> None:
    enrolment = Enrolment("dev1", keys=(KEY,), hubs=("hub1",), reprovision=reprovision)
    made = service(enrolment, hubs=("hub1", "hub2"))
    register(made, signed("dev1", KEY))
    made._hubs["hub1"].devices["dev1"].reported.patch({"seen": 1})
    enrolment.hubs = ("hub2",)
    _, body = register(made, signed("dev1", KEY))
    state = body["registrationState"]
    assert (state["assignedHub"], state["substatus"]) == ("hub2", substatus)
    assert made._hubs["hub1"].devices == {}
    assert made._hubs["hub2"].devices["dev1"].reported.values == twin


def test_a_device_that_may_not_move_stays() -> None:
    enrolment = Enrolment("dev1", keys=(KEY,), hubs=("hub1",), reprovision="never")
    made = service(enrolment, hubs=("hub1", "hub2"))
    register(made, signed("dev1", KEY))
    enrolment.hubs = ("hub2",)
    assert register(made, signed("dev1", KEY))[1]["registrationState"]["assignedHub"] == "hub1"


def test_a_renewed_certificate_is_entered_on_registering_again() -> None:
    made = service(GROUP)
    register(made, certified())
    renewed = chain(BATCH, "dev1")
    register(made, certified(shown=renewed))
    assert set(made._hubs["hub"].devices["dev1"].thumbprints) == thumbprints(renewed[0])


def test_without_any_of_its_hubs_nothing_is_assigned() -> None:
    made = service(Enrolment("dev1", keys=(KEY,), hubs=("gone",)))
    assert register(made, signed("dev1", KEY))[0] == 500


@pytest.mark.parametrize("wish", [b"", b"[]", b"{", b"{}", b'{"registrationId":"dev2"}'])
def test_a_wish_of_another_form_is_answered_with_400(wish: bytes) -> None:
    assert ask(service(GROUP), certified(), "PUT/iotdps-register/?$rid=9", wish)[0] == 400


def test_who_names_himself_properly_may_connect() -> None:
    made = service()
    assert Provisioning.is_meant(connect("dev1"))
    assert made.admit(connect("dev1"), CERTIFIED) == Registrant("dev1", CERTIFIED, "")
    assert made.admit(connect("dev1", "any token"), ()) == Registrant("dev1", (), "any token")


@pytest.mark.parametrize(
    "packet",
    [
        connect("dev1"),
        connect("dev1", "token", scope="0ne002"),
        mqtt.Connect("dev2", connect("dev1").username, b"token"),
        mqtt.Connect("dev1", f"{SCOPE}/registrations/dev1", b"token"),
    ],
)
def test_who_does_not_may_not(packet: mqtt.Connect) -> None:
    with pytest.raises(RefusedError) as refusal:
        service(GROUP).admit(packet, ())
    assert refusal.value.code == mqtt.NOT_AUTHORISED


@fuzz
@given(st.text(), st.binary(max_size=50))
def test_any_request_has_an_answer_or_is_a_protocol_error(topic: str, payload: bytes) -> None:
    made = service(GROUP)
    for head in ("", "$dps/registrations/PUT/iotdps-register/?", "$dps/registrations/GET/"):
        with contextlib.suppress(mqtt.ProtocolError):
            made.receive(certified(), mqtt.Publish(head + topic, payload))


def test_operations_that_nobody_asks_about_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.local_hub.dps._MAX_OPERATIONS", 5)
    made = service(GROUP)
    wish = json.dumps({"registrationId": "dev1"}).encode()
    for _ in range(20):
        assert ask(made, certified(), "PUT/iotdps-register/?$rid=9", wish)[0] == 202
    assert len(made._operations) == 5
