"""The fault campaign: thousands of records through hundreds of faults, none lost, none doubled."""
