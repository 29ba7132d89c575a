"""How this device gets into its hub: which identity it shows, and which hub it asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from firmware import settings
from firmware.errors import ConfigError, ProvisioningError, SensorError
from firmware.event_log import log
from firmware.uplink.hub import Cloud, Endpoint, Hub, Listener
from firmware.uplink.identity import Identity
from firmware.uplink.registration import Registration, stagger_s
from firmware.uplink.rotation import Rotation, settle
from firmware.uplink.watch import Watch


class Access:
    """Opens connections with the identity in use, or once with a new one.

    Args:
        current: the device's settings.
        device: its id.
        cloud: the vendor's driver.
        watch: is told of every call that a service has to answer.
        pause: sleeps, but not beyond the stop.

    Raises:
        ProvisioningError: the identity is missing, broken, or of another device.
        ConfigError: the file with trusted roots cannot be read.
    """

    def __init__(
        self,
        current: settings.Settings,
        device: str,
        cloud: Cloud,
        watch: Watch,
        pause: Callable[[float], None],
    ) -> None:
        directory = Path(current.identity.directory)
        settle(directory)
        self.rotation = Rotation(directory, Identity.load(directory, device))
        self.host = ""
        self._hub = current.hub
        self._trust = _text(current.hub.trust)
        self._cloud = cloud
        self._watch = watch
        self._pause = pause
        self._on_trial: Identity | None = None
        self._registration = Registration(
            current.hub.host, current.hub.id_scope, directory, self._register, self._stagger
        )

    @property
    def registered_after(self) -> int:
        """Attempts that the last registration took; 0 when the hub was known before."""
        return self._registration.took_attempts

    @property
    def identity(self) -> Identity:
        return self.rotation.current

    def open(self, listener: Listener) -> Hub:
        """A connected hub. A new identity gets one try; when it fails the old one follows.

        Raises:
            SensorError: no connection can be had now.
        """
        self._on_trial = candidate = self.rotation.take_candidate()
        if candidate:
            try:
                # A hub knows a device by its present certificate, so this one is registered.
                return self._opened(candidate, listener, anew=True)
            except SensorError as error:
                self.rotation.reject(candidate, error)
                self._on_trial = None
                log("certificate_rejected")
        return self._opened(self.identity, listener)

    def proven(self) -> bool:
        """The connection works; True when it was the trial of a new identity, now in use.

        Raises:
            ProvisioningError: the new identity cannot be kept.
        """
        if self._on_trial is None:
            return False
        self._on_trial = None
        self.rotation.promote()
        log("certificate_rotated")
        return True

    def reprovision(self) -> bool:
        """Register anew at the next connection; False where no registration service is set."""
        return self._registration.forget()

    def _opened(self, identity: Identity, listener: Listener, *, anew: bool = False) -> Hub:
        if identity.certificate:
            identity.certificate.check(identity.key, identity.device)
        self.host = self._registration.hub(anew=anew)
        hub = self._cloud.hub(self._endpoint(self.host), identity, listener)
        try:
            with self._watch.over(self._hub.acknowledge_s):
                hub.connect()
        except SensorError as error:
            self._registration.failed(refused=isinstance(error, ProvisioningError))
            with self._watch.over(self._hub.acknowledge_s):
                hub.close()
            raise
        self._registration.connected()
        return hub

    def _register(self) -> str:
        with self._watch.over(self._hub.register_s):
            return self._cloud.register(
                self._endpoint(self._hub.provisioning_host),
                self._on_trial or self.identity,
                self._hub.id_scope,
                {"site": self._hub.site, "profile": self._hub.profile},
            )

    def _stagger(self) -> None:
        self._pause(stagger_s(self._hub.first_contact_s))

    def _endpoint(self, host: str) -> Endpoint:
        return Endpoint(host, self._hub.gateway, self._trust, self._hub.transport == "websockets")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"[hub] trust: {path} cannot be read ({type(error).__name__})",
            remedy="name a readable PEM file with root certificates, or leave it empty",
        ) from error
