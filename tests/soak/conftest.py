"""A warm process for the campaign, and what each test found as a property of its report."""

import pytest
from toll import Server, Toll, row


@pytest.fixture(scope="session")
def server():
    one = Server()
    yield one
    one.close()


@pytest.fixture
def toll(request, record_property):
    import time

    one = Toll(request.node.name.removeprefix("test_"))
    start = time.monotonic()
    yield one
    one.seconds = round(time.monotonic() - start, 1)
    record_property("soak", row(one))
    assert one.found == []
