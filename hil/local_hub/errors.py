"""What the service side of the hub answers when it cannot do what it was asked."""

from __future__ import annotations

from firmware.errors import UplinkError


class ServiceError(UplinkError):
    """A request to the hub failed. `status` is an HTTP status as the Azure services use them."""

    def __init__(self, status: int, problem: str, *, remedy: str) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.status, self.problem, self.remedy))


def _rebuild(status: int, problem: str, remedy: str) -> ServiceError:
    return ServiceError(status, problem, remedy=remedy)
