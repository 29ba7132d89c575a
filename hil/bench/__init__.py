"""Time and memory of the sensor, measured on this machine."""
