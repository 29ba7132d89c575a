"""From roll-ups to figures that may be shown."""
