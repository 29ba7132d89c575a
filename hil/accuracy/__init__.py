"""How right the sensor is about labelled pictures, seen through its own detector and crops."""
