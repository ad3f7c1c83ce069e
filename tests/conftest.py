"""What all tests share: bounded property tests that do not depend on how busy the machine is, and a quiet collector."""

import gc

from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests there are: looking through them took a third of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
