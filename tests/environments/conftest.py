"""Fixtures of these tests."""

from tests.environments.fixtures import environment

__all__ = ["environment"]
