"""Trained models as their libraries save them, one module for each kind."""
