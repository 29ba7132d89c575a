"""A hub on this machine that the real Azure IoT SDK takes for IoT Hub and DPS."""

from hil.local_hub.capture import Event, events
from hil.local_hub.errors import ServiceError
from hil.local_hub.service import Service
from hil.local_hub.start import running

__all__ = ["Event", "Service", "ServiceError", "events", "running"]
