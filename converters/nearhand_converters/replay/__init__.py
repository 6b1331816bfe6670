"""From a log of events to a training table, with nothing in a row that was recorded at or after its label."""
