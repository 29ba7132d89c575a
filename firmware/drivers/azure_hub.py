"""Azure IoT Hub and its registration service through azure-iot-device: the only file that knows
that SDK.

Facts about azure-iot-device 2.15.0rc1 on which this rests:
- with `connection_retry=False` a lost connection cancels what is in flight, so that `send` raises
  instead of waiting; with its own reconnect on, a message may wait without end;
- an exception from `send_message` does not mean that the message was not stored;
- it does not subscribe again when the hub lost its session, so each connection is a new client;
- handlers can be set, which subscribes, only while it is connected.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import firmware.drivers.azure_slim  # noqa: F401 - before the SDK

# isort: split
from azure.iot.device import (
    X509,
    IoTHubDeviceClient,
    Message,
    MethodRequest,
    MethodResponse,
    ProvisioningDeviceClient,
    exceptions,
)
from azure.iot.device.common.evented_callback import EventedCallback

from firmware.errors import ProvisioningError, SensorError, UplinkError
from firmware.uplink.hub import KEEP_ALIVE_S, Endpoint, Hub, Listener
from firmware.uplink.identity import Identity

_TOKEN_S = 86_400
"""Renewing a token breaks the connection for a moment; once a day is enough."""

for _name in ("azure.iot.device", "paho"):
    # The SDK logs topics, user names and exception texts; the firmware logs fixed events only.
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class AzureCloud:
    """`firmware.uplink.hub.Cloud` on Azure IoT."""

    def hub(self, endpoint: Endpoint, identity: Identity, listener: Listener) -> Hub:
        return AzureHub(endpoint, identity, listener)

    def register(
        self, endpoint: Endpoint, identity: Identity, id_scope: str, payload: dict[str, Any]
    ) -> str:
        host = endpoint.gateway or endpoint.host
        options = {**_tls_options(endpoint), "keep_alive": KEEP_ALIVE_S}
        with _vendor_errors("registration service"):
            if identity.certificate:
                client = ProvisioningDeviceClient.create_from_x509_certificate(
                    host, identity.device, id_scope, _x509(identity), **options
                )
            else:
                client = ProvisioningDeviceClient.create_from_symmetric_key(
                    host, identity.device, id_scope, identity.shared_key, **options
                )
            client.provisioning_payload = payload
            try:
                result = client.register()
            except Exception:
                _abandon(client)
                raise
        state = result.registration_state
        if result.status != "assigned" or state is None or state.device_id != identity.device:
            _abandon(client)
            raise _refused("registration service")
        return state.assigned_hub


class AzureHub:
    """`firmware.uplink.hub.Hub` on IoT Hub.

    Args:
        endpoint: the hub.
        identity: certificate or shared key to show.
        listener: is told of a loss, of desired properties and of method calls.

    Raises:
        ProvisioningError: key and certificate cannot be used for TLS.
        UplinkError: the trusted roots are no PEM certificates.
    """

    def __init__(self, endpoint: Endpoint, identity: Identity, listener: Listener) -> None:
        self._listener = listener
        options: dict[str, Any] = {
            **_tls_options(endpoint),
            "keep_alive": KEEP_ALIVE_S,
            "auto_connect": False,
            "connection_retry": False,
            "ensure_desired_properties": False,
        }
        if endpoint.gateway:
            options["gateway_hostname"] = endpoint.gateway
        with _vendor_errors("hub"):
            if identity.certificate:
                self._client = IoTHubDeviceClient.create_from_x509_certificate(
                    _x509(identity), endpoint.host, identity.device, **options
                )
            else:
                self._client = IoTHubDeviceClient.create_from_symmetric_key(
                    identity.shared_key,
                    endpoint.host,
                    identity.device,
                    sastoken_ttl=_TOKEN_S,
                    **options,
                )

    def connect(self) -> None:
        with _vendor_errors("hub"):
            self._client.connect()
            self._client.on_connection_state_change = self._on_state  # type: ignore[assignment]
            self._client.on_twin_desired_properties_patch_received = self._on_desired
            self._client.on_method_request_received = self._on_method

    def send(self, body: bytes, message_id: str, properties: Mapping[str, str]) -> None:
        message = Message(body, message_id=message_id)  # type: ignore[no-untyped-call]
        message.custom_properties.update(properties)
        with _vendor_errors("hub"):
            self._client.send_message(message)

    def twin(self) -> dict[str, Any]:
        with _vendor_errors("hub"):
            twin: Any = self._client.get_twin()
        parts = (twin.get("desired"), twin.get("reported")) if isinstance(twin, dict) else ()
        if not all(isinstance(part, dict) for part in parts) or not parts:
            raise UplinkError("the hub answered with no twin", remedy="check the hub's address")
        return {"desired": parts[0], "reported": parts[1]}

    def report(self, patch: dict[str, Any]) -> bool:
        try:
            with _vendor_errors("hub"):
                self._client.patch_twin_reported_properties(patch)
        except UplinkError as error:
            if _service_status(error):
                return False
            raise
        return True

    def respond(self, request: str, status: int, payload: dict[str, Any]) -> None:
        with _vendor_errors("hub"):
            self._client.send_method_response(MethodResponse(request, status, payload))

    def close(self) -> None:
        with suppress(Exception):  # whatever state the SDK is in, it is not used again
            self._client.shutdown()

    def _on_state(self) -> None:
        if not self._client.connected:
            self._listener.lost()

    def _on_desired(self, patch: Any) -> None:
        if isinstance(patch, dict):
            self._listener.desired(patch)

    def _on_method(self, call: MethodRequest) -> None:
        payload = call.payload if isinstance(call.payload, dict) else {}
        self._listener.called(call.request_id, call.name, payload)


def _abandon(client: ProvisioningDeviceClient) -> None:
    """Close a connection that the SDK leaves open, with its threads, unless it succeeded."""
    with suppress(Exception):
        closed = EventedCallback()  # type: ignore[no-untyped-call]
        client._pipeline.shutdown(callback=closed)  # type: ignore[no-untyped-call]
        closed.wait_for_completion(KEEP_ALIVE_S)  # type: ignore[no-untyped-call]


def _x509(identity: Identity) -> X509:
    assert identity.certificate is not None
    return X509(  # type: ignore[no-untyped-call]
        str(identity.certificate.path), str(identity.key.path)
    )


def _tls_options(endpoint: Endpoint) -> dict[str, Any]:
    """Options that hub and registration service have in common."""
    options: dict[str, Any] = {"websockets": endpoint.websockets}
    if endpoint.trust:
        options["server_verification_cert"] = endpoint.trust
    return options


@contextmanager
def _vendor_errors(service: str) -> Iterator[None]:
    """Translate whatever the SDK raises; `service` stands in the problem's text."""
    try:
        yield
    except SensorError:
        raise
    except exceptions.CredentialError as error:
        raise _refused(service) from error
    except Exception as error:
        raise _translated(error, service) from error


def _translated(error: BaseException, service: str) -> SensorError:
    """The cause that the SDK wrapped decides; its text goes nowhere."""
    if _service_status(error) in {401, 403, 404}:
        return _refused(service)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UplinkError(
                f"the {service}'s certificate is not trusted: {cause.verify_message}",
                remedy=_TRUST_REMEDY.get(cause.verify_code, _UNTRUSTED),
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _LOCAL_TLS_FAULTS:
            return _LOCAL_TLS_FAULTS[cause.reason]()
    return UplinkError(
        f"no connection with the {service} ({type(error).__name__})",
        remedy="check network, DNS and that port 8883 (443 with websockets) is open",
    )


def _refused(service: str) -> ProvisioningError:
    return ProvisioningError(
        f"the {service} refuses this device's identity",
        remedy="check that the device is enrolled, enabled and shows the right certificate",
    )


def _service_status(error: BaseException) -> int:
    """The status that a service answered with; 0 when it is not what failed.

    The SDK has it in the text of its ServiceError only.
    """
    for cause in _causes(error):
        if isinstance(cause, exceptions.ServiceError):
            found = re.search(r"status(?: code)?:? *(\d{3})", str(cause))
            return int(found.group(1)) if found else 500
    return 0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


_UNTRUSTED = "point [hub] trust at the PEM file with the roots of the service's certificate"
_TRUST_REMEDY = {
    9: "it is not valid yet: check the device's clock",
    10: "it has expired: check the device's clock, then the service",
    62: "it is for another host: check [hub] host and gateway",
    64: "it is for another address: check [hub] host and gateway",
}
"""OpenSSL's X509_V_ERR_* code → what to do."""

_LOCAL_TLS_FAULTS: dict[str, Callable[[], SensorError]] = {
    "KEY_VALUES_MISMATCH": lambda: ProvisioningError(
        "device key and certificate do not belong together",
        remedy="have this device's own request signed: flow-provision issue",
    ),
    "NO_CERTIFICATE_OR_CRL_FOUND": lambda: UplinkError(
        "the trusted roots are no PEM certificates",
        remedy="point [hub] trust at a PEM file",
    ),
}
