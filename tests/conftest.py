"""For all tests: a clean environment, and how much hypothesis tries."""

import atexit
import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import settings

from tests.clocks import Clock

# A developer's own settings must not decide whether a test passes; processes that tests start
# inherit this environment, too.
for _name in [name for name in os.environ if name.startswith("AGENTD_")]:
    del os.environ[_name]

# Nor must this user's own keys, grants and audit log, which are never touched; and what tests in
# one process do with theirs is not seen in another.
for _name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = tempfile.mkdtemp(prefix="agc", dir="/tmp")
    atexit.register(shutil.rmtree, os.environ[_name], ignore_errors=True)

# No deadline: a busy machine is no error. `HYPOTHESIS_PROFILE=thorough make test` looks longer.
settings.register_profile("default", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Whoever starts the tests in the background of a shell has SIGINT ignored, and children inherit
# that; what is tested here with Ctrl-C is started from a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make test ARGS='--fuzz-examples 1000000'`` looks longer at what strangers may send."""
    parser.addoption(
        "--malformed-peers",
        type=int,
        default=20_000,
        help="how many peers speak nonsense to the daemon (tests/faults/test_malformed_peers.py)",
    )
    parser.addoption(
        "--overload-calls",
        type=int,
        default=2_000,
        help="how many calls an agent gets that are more than it can do "
        "(tests/faults/test_overload.py)",
    )
    parser.addoption("--fuzz-examples", type=int, default=50_000, metavar="N")
    parser.addoption(
        "--compiled",
        action="store_true",
        help="these tests are to run against the compiled wheel (make test-wheel)",
    )


@pytest.fixture
def clock() -> Clock:
    """Told the time by the test."""
    return Clock()


@pytest.fixture
def fuzz_examples(request: pytest.FixtureRequest) -> int:
    """How many hostile inputs a fuzzing test makes."""
    return int(request.config.getoption("--fuzz-examples"))
