"""Does the converted model still rank as the trained one did? Measured on held-out users, with intervals."""
