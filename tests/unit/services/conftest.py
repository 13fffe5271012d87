"""Fixtures of services: a live edge with small ones."""

from tests.unit.edge.conftest import live

__all__ = ["live"]
