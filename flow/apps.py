from __future__ import annotations

from django.apps import AppConfig


class FlowConfig(AppConfig):
    name = "flow"
    label = "flow"
    verbose_name = "FLOW"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from flow import audit  # noqa: F401, PLC0415  (connects the log-in signals)
