"""IoT Hub's Event Hubs-compatible endpoint.

Workers share the partitions among themselves through the checkpoint store (blobs); when one goes,
the others take over its partitions at the last checkpoint. A checkpoint is written only after
the commit, so what was read twice is found in the numbers and left out.
"""

from __future__ import annotations

from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.identity import DefaultAzureCredential
from django.db import close_old_connections

from flow.environment import word
from flow.ingest.opening import Message, Opener
from flow.ingest.worker import BATCH_MESSAGES, BATCH_S, stored

_DEVICE = b"iothub-connection-device-id"


def client() -> EventHubConsumerClient:
    """A consumer as the FLOW_EVENT_HUB_… settings describe it, with the managed identity.

    Raises:
        ConfigError: one of them is missing.
    """
    credential = DefaultAzureCredential()
    store = BlobCheckpointStore(
        word("FLOW_CHECKPOINT_ACCOUNT"),
        word("FLOW_CHECKPOINT_CONTAINER", "checkpoints"),
        credential=credential,
    )
    return EventHubConsumerClient(
        word("FLOW_EVENT_HUB_NAMESPACE"),
        word("FLOW_EVENT_HUB_NAME"),
        word("FLOW_EVENT_HUB_GROUP", "flow"),
        credential=credential,
        checkpoint_store=store,
    )


def run(opener: Opener, consumer: EventHubConsumerClient) -> None:
    """Read and store until the process is ended."""

    def on_batch(partition: Any, events: list[EventData]) -> None:
        close_old_connections()
        opener.renew()
        if events:
            stored(opener.open(map(_message, events)))
            partition.update_checkpoint()

    with consumer:
        consumer.receive_batch(
            on_batch, max_batch_size=BATCH_MESSAGES, max_wait_time=BATCH_S, starting_position="-1"
        )


def _message(event: EventData) -> Message:
    system = event.system_properties
    device = system.get(_DEVICE, b"")
    return Message(
        event.body_as_str("latin-1").encode("latin-1"),  # bytes in, the same bytes out
        device.decode() if isinstance(device, bytes) else str(device),
        int(event.enqueued_time.timestamp()) if event.enqueued_time else 0,
        int(event.sequence_number or 0),
    )
