"""Properties are checked on the same examples every time, and take as long as the machine needs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")
