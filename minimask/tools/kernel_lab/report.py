"""What the kernel lab knows, as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from minimask.kernels import OPERATIONS
from minimask.tools.kernel_lab import record, values
from minimask.tools.kernel_lab.counting import SHARED, Counted, Traffic
from minimask.tools.kernel_lab.tiers import Result, tiers_of

WIDTH = 80
MARKS = {True: "passed", False: "FAILED", None: "not run"}


def overview(entries: record.Entries) -> Iterator[str]:
    """A line for each operation: its rungs, and how many have passed all that needs no GPU."""
    yield f"{'operation':12} {'rungs':>5} {'on a GPU':>8}  passed here  on a GPU"
    for op in OPERATIONS:
        variants = {n: v for n, v in values.variants(op).items() if n != "reference"}
        done = {name: set(record.passed(entries, op, name)) for name in variants}
        here = sum(set(tiers_of(v)) - {"gpu"} <= done[n] for n, v in variants.items())
        gpu = [n for n, v in variants.items() if v.device == "gpu"]
        on_gpu = f"{sum('gpu' in done[n] for n in gpu)} of {len(gpu)}" if gpu else "-"
        passed = f"{here} of {len(variants)}"
        yield f"{op:12} {len(variants):>5} {len(gpu):>8}  {passed:11}  {on_gpu}"


def ladder(op: str, entries: record.Entries) -> Iterator[str]:
    """The rungs of an operation, slowest to fastest: idea, and tiers passed."""
    yield from textwrap.wrap(f"{op}: {', '.join(OPERATIONS[op])}", WIDTH)
    width = max(len(name) for name in values.variants(op)) + 2
    for name, variant in values.variants(op).items():
        idea = textwrap.wrap(variant.idea, WIDTH - width - 2) or [""]
        yield f"  {name:{width}}{idea[0]}"
        yield from (f"  {'':{width}}{line}" for line in idea[1:])
        if name != "reference":
            done = record.passed(entries, op, name)
            has = tiers_of(variant)
            yes = [t for t in has if t in done and t != "gpu"]
            no = [t for t in has if t not in done]
            text = f"passed {', '.join(yes) or 'nothing'}"
            if "gpu" in done:
                text += f", gpu ({done['gpu']['date']}, {done['gpu']['device']})"
            text += f"; not {', '.join(no)}" if no else ""
            yield from (f"  {'':{width}}{line}" for line in textwrap.wrap(text, WIDTH - width - 2))


def result(outcome: Result, first: str = "") -> str:
    """How one rung did in one tier: a line, more if something is wrong."""
    head = f"{first}{outcome.variant:24} {outcome.tier:10} {MARKS[outcome.passed]:8}"
    return f"{head}{outcome.text}"


def counted(launches: Sequence[Counted]) -> Iterator[str]:
    """What the launches of one case read and write, a table each."""
    for launch in launches:
        size = "x".join(map(str, launch.grid)), "x".join(map(str, launch.block))
        yield f"{launch.program}, {launch.kernel}: {size[0]} blocks of {size[1]} threads"
        yield f"{'':15}{'a thread':^21} {'kilobytes':^17}{'sectors a request (best)':>25}"
        yield (
            f"  {'argument':13}{'reads':>6} {'writes':>6} {'atomics':>7} "
            f"{'read':>8} {'written':>8} {'reading':>12} {'writing':>12}"
        )
        for traffic in launch.traffic:
            if traffic.reads + traffic.writes + traffic.atomics == 0:
                continue
            if traffic.name == SHARED:
                yield f"  {'':52}{'rounds a request (best)':>25}"
            yield _row(traffic, launch.threads)
        if launch.conflict:
            yield f"  race between blocks: {launch.conflict}"


def _row(traffic: Traffic, threads: int) -> str:
    one = [traffic.reads / threads, traffic.writes / threads, traffic.atomics / threads]
    reading = _requests(traffic.read_transactions, traffic.read_least, traffic.read_requests)
    writing = _requests(traffic.write_transactions, traffic.write_least, traffic.write_requests)
    return (
        f"  {traffic.name[:12]:13}{_short(one[0]):>6} {_short(one[1]):>6} {_short(one[2]):>7} "
        f"{_short(traffic.read_bytes / 1e3):>8} {_short(traffic.write_bytes / 1e3):>8} "
        f"{reading:>12} {writing:>12}"
    )


def _requests(spent: float, least: float, requests: float) -> str:
    return f"{spent / requests:.3g} ({least / requests:.3g})" if requests else "-"


def _short(value: float) -> str:
    return "-" if value == 0 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
