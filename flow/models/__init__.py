"""The tables, by subject."""

from flow.models.customers import Customer, Sensor, Site
from flow.models.people import ApiToken, AuditEntry, Invitation, Role, User
from flow.models.records import Checkpoint, Cube, HealthReport, NumberBlock, Quarantined, SensorDay
from flow.models.reports import Report, Schedule

__all__ = [
    "ApiToken",
    "AuditEntry",
    "Checkpoint",
    "Cube",
    "Customer",
    "HealthReport",
    "Invitation",
    "NumberBlock",
    "Quarantined",
    "Report",
    "Role",
    "Schedule",
    "Sensor",
    "SensorDay",
    "Site",
    "User",
]
