"""Implicit ALS on films."""
