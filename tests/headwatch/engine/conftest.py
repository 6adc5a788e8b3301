"""What several tests of the engine need."""

import pytest


@pytest.fixture
def unchecked(monkeypatch):
    """Questions without the engine's check of itself, so that a sweep's own work alone is counted."""
    monkeypatch.setattr("headwatch.engine.sweep_run.engine_matches_model", lambda trial, required=False: True)
