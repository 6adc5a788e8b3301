"""Tests mirror the source trees."""
