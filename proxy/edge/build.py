"""Whether the data plane is compiled (see setup.py) or runs as the Python that it is written in.

Told without importing it, so that `banyan --version` can say it.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def is_compiled() -> bool:
    """Whether the modules that carry requests are C extensions here."""
    spec = find_spec("proxy.edge.client")
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


def describe() -> str:
    """The same in words, for people."""
    return "compiled data plane" if is_compiled() else "data plane in pure Python"
