"""What the property tests share: how many examples, and the promise: a result, or one InputError of one line."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

from iskit.errors import InputError

LONGEST = 500  # characters: "a few hundred", with the words that papermill or the command line put before

# A bounded number in every run of the tests; ISKIT_SOAK=500 asks for as many of each test.
settings.register_profile(
    "outside",
    max_examples=int(os.environ.get("ISKIT_SOAK", "40")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
campaign = settings(settings.get_profile("outside"))


def result_or_one_line(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the call gives; None if it refuses, as it should. Any other error is a finding."""
    try:
        return call(*args, **kwargs)
    except InputError as error:
        message = str(error)
        assert message.isprintable(), f"more than one line: {message!r}"
        assert 0 < len(message) <= LONGEST, len(message)
        return None
