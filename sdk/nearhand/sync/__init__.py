"""What leaves the device, when and how: the outbox over the event log, and the calls that empty it."""
