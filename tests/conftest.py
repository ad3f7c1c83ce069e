"""What all tests share: bounded property tests that do not depend on how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
