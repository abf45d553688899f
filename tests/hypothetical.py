"""How property tests run here: the same examples every time, and no judging by the clock."""

import sys
from typing import Final

import hypothesis

# A slow machine is no fault, and a failure found once must be found again by everybody.
STEADY: Final = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=300 if "--long" in sys.argv else 100,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
