"""Tree ensembles in one neutral form, and the two graphs that are written from it."""
