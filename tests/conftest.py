"""What holds for every test: the number of skipped tests is always said, also when it is none.

With BANYAN_TEST_TREE (an unpacked wheel, see `make test-compiled`) it is the proxy of that tree
that is under test.
"""

import os
import signal
import sys

import pytest

if tree := os.environ.get("BANYAN_TEST_TREE"):
    os.environ["BANYAN_TEST_TREE"] = os.path.abspath(tree)
    sys.path.insert(0, os.environ["BANYAN_TEST_TREE"])
    from proxy.edge.build import is_compiled

    assert is_compiled(), f"BANYAN_TEST_TREE={tree} has no compiled data plane"

# Of the terminal it is started in, or set by pytest-xdist; what commands print would depend on it.
os.environ.pop("COLUMNS", None)

# A suite that is started in the background ignores SIGINT, and its children would inherit that:
# what Ctrl-C does could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    terminalreporter.write_line(f"skipped tests: {skipped}")
