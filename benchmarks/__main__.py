"""`python -m benchmarks`: Banyan beside nginx, HAProxy and an aiohttp proxy.

Exit 0: every bar holds. 1: some do not, or something failed. 2: bad usage.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.figures import Section
from benchmarks.machine import available_cores, describe, share_cores
from benchmarks.measuring import Settings
from benchmarks.processes import BenchError
from benchmarks.programs import MissingProgramError, find_programs, version
from benchmarks.report import as_json, render, render_outcome
from benchmarks.scenarios import SCENARIOS
from benchmarks.shipped import prepare
from benchmarks.stage import Stage

EXAMPLE = "example: python -m benchmarks pass-through shadow --quick --json figures.json"
PROXIES = ("nginx", "haproxy", "aiohttp", "banyan")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = Settings(
        rounds=options.rounds or (3 if options.quick else 5),
        seconds=options.seconds or (1 if options.quick else 4),
        connections=options.connections,
        quick=options.quick,
        proxies=frozenset(options.proxies.split(",")) if options.proxies else None,
    )
    signal.signal(signal.SIGTERM, stop_as_ctrl_c)
    sections: list[Section] = []
    try:
        programs = find_programs()
        cores = share_cores(available_cores())
        shipped = prepare(options.pure)
        facts = {
            "machine": describe(),
            "banyan": shipped.text,
            "cores": str(cores),
            "load": f"{settings.rounds} rounds of {settings.seconds:g} s, "
            f"{settings.connections} connections, paired and rotating; medians",
            "versions": ", ".join(version(path) for path in programs.values()),
        }
        for name, text in facts.items():
            print(f"{name + ':':9} {text}", flush=True)
        with Stage(programs, cores, shipped) as stage:
            for name in options.scenarios or SCENARIOS:
                for section in SCENARIOS[name](stage, settings):
                    sections.append(section)
                    print(render(section), flush=True)
    except (MissingProgramError, BenchError) as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmarks: stopped, and everything that was started with it", file=sys.stderr)
        return 1
    bars = [bar for section in sections for bar in section.bars]
    print(render_outcome(bars))
    if options.quick:
        print("Quick rounds: good for a direction, not for a figure to quote.")
    if options.json:
        options.json.write_text(json.dumps(as_json(facts, sections), indent=1) + "\n")
    return 0 if all(bar.passed for bar in bars) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=EXAMPLE
    )
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default all"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s, smaller streams")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (5)")
    parser.add_argument("--seconds", type=float, help="length of a round (4)")
    parser.add_argument("--connections", type=int, default=64, help="clients of a load (64)")
    parser.add_argument("--proxies", help=f"only these of {','.join(PROXIES)}")
    parser.add_argument(
        "--pure", action="store_true", help="Banyan's sources as they are, not the compiled wheel"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    unknown += [name for name in (options.proxies or "").split(",") if name not in ("", *PROXIES)]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return options


def stop_as_ctrl_c(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
