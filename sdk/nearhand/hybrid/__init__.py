"""Where a list is ranked: on the device, in the cloud, or both, by policy and under a deadline."""
