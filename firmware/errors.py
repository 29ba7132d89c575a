"""Every way in which the sensor can fail, each with a remedy and an exit status of its own."""

from __future__ import annotations

from typing import ClassVar


class SensorError(Exception):
    """Root of all errors that a user of the sensor may meet.

    Args:
        problem: names the thing that is wrong (a file, a key's path, a device); never holds
            anything that was seen by the camera, nor a secret.
        remedy: what the reader can do about it, as an instruction.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.remedy))


def _rebuild(kind: type[SensorError], problem: str, remedy: str) -> SensorError:
    return kind(problem, remedy=remedy)


class ConfigError(SensorError):
    """A setting, a command line or a twin patch is wrong."""

    exit_code = 10


class PrivacyError(SensorError):
    """A privacy guarantee does not hold: stop, never degrade silently."""

    exit_code = 11


class CameraError(SensorError):
    """A frame source is missing, broken, or gives frames that the sensor cannot use."""

    exit_code = 12


class EngineError(SensorError):
    """A model or an engine is missing, altered, or does not fit this machine."""

    exit_code = 13


class SealError(SensorError):
    """A record cannot be sealed, opened or verified."""

    exit_code = 14


class UplinkError(SensorError):
    """The hub cannot be reached or refuses the device."""

    exit_code = 15


class ProvisioningError(SensorError):
    """An identity, a certificate or a registration is missing or refused."""

    exit_code = 16


class UpdateError(SensorError):
    """A new version is refused, cannot be fetched, or cannot be installed."""

    exit_code = 17


BY_NAME: dict[str, type[SensorError]] = {
    kind.__name__: kind
    for kind in (
        ConfigError,
        PrivacyError,
        CameraError,
        EngineError,
        SealError,
        UplinkError,
        ProvisioningError,
        UpdateError,
    )
}
