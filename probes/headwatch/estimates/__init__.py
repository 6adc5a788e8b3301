"""Importance at a small share of the exact sweep's cost, with honest intervals: few exact runs, and what is cheap."""
