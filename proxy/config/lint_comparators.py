"""Comparators of the user's own that cannot be there: `with: package.module:name`.

Looked for where comparers will, beside the configuration and then on the import path, and never
imported, not even the packages above: what a module does when imported is no business of a check.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from comparators.custom import is_import_path
from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.config.settings import Config
from proxy.core.model import UNMATCHED

# A source that may have names which are not written in it.
_BORROWING = re.compile(r"\bimport\s*\(?\s*\*|\b__getattr__\b|\bglobals\b|\bexec\b")
_MAX_SOURCE_BYTES = 1 << 20


def lint_comparators(config: Config, places: Places) -> Iterator[Finding]:
    """Findings about each place that names one."""
    troubles: dict[str, str] = {}
    told: set[tuple[str, ...]] = set()
    for route in config.routes:
        if route.name == UNMATCHED or route.compare is None:
            continue
        named = route.compare.with_
        if not is_import_path(named):
            continue
        if named not in troubles:
            troubles[named] = trouble(named, config.file.parent)
        loc: tuple[str, ...] = ("routes", route.pattern, "compare", "with")
        if len(places.document.existing(loc)) < len(loc):
            loc = ("defaults", "compare", "with")
        if troubles[named] and loc not in told:
            told.add(loc)
            text = (
                f"{troubles[named]}, so each comparison counts as comparator_failed; "
                "correct the name, or put the module beside this file"
            )
            yield places.finding("NO_COMPARATOR", loc, text)


def trouble(named: str, folder: Path) -> str:
    """Why `package.module:name` cannot be imported with `folder` on the path; empty if it can."""
    module, _, name = named.partition(":")
    first, *rest = module.split(".")
    spec = PathFinder.find_spec(first, [str(folder)]) or _found(first, None)
    dotted = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        dotted = f"{dotted}.{part}"
        spec = _found(dotted, list(spec.submodule_search_locations))
    if spec is None:
        return f"there is no module {dotted}"
    if dotted != module:
        return f"{dotted} is no package"
    if spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    return "" if _may_have(Path(spec.origin), name) else f"{module} has no {name}"


def _found(dotted: str, where: Sequence[str] | None) -> ModuleSpec | None:
    """As an import finds it, which would import the packages above it first."""
    for finder in sys.meta_path:
        if spec := finder.find_spec(dotted, where):
            return spec
    return None


def _may_have(path: Path, name: str) -> bool:
    try:
        if path.stat().st_size > _MAX_SOURCE_BYTES:
            return True
        source = path.read_text("utf-8")
    except (OSError, ValueError):
        return True
    return bool(re.search(rf"\b{name}\b", source) or _BORROWING.search(source))
