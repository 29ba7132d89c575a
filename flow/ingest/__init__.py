"""From a hub's message to stored records and roll-ups."""
