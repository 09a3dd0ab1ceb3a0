"""`minimask kernels`: try, check, count and time GPU kernels, with or without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.tools.cli import WrongUse

if TYPE_CHECKING:
    from minimask.tools.kernel_lab.tiers import Result

CHECK_EPILOG = """
[bold]Example[/bold]: minimask kernels check my_kernel.cu --op roi_align
"""
START_EPILOG = """
[bold]Example[/bold]: minimask kernels start roi_align my_kernel.cu
"""
COUNT_EPILOG = """
A warp's request moves sectors of 32 bytes; shared memory answers it in rounds.
"""
BENCH_EPILOG = """
GB/s count the bytes that must be moved, GFLOP/s the operations of the definition.
"""

app = typer.Typer(
    help="Try, check, count and time GPU kernels; a GPU is not needed.",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Operation = Annotated[
    str, typer.Argument(metavar="OP", help="box_iou, nms, roi_align, ...", show_default=False)
]


@app.callback(invoke_without_command=True)
def kernels(context: typer.Context) -> None:
    """Try, check, count and time GPU kernels; a GPU is not needed."""
    if context.invoked_subcommand is None:
        _overview()
        typer.echo(
            "\n`minimask kernels list OP` shows a ladder; `minimask kernels -h` the commands"
        )


def _overview() -> None:
    from minimask.tools.kernel_lab import record, report

    for line in report.overview(record.read()):
        typer.echo(line)


@app.command("list")
def list_(
    op: Annotated[
        str | None,
        typer.Argument(metavar="[OP]", help="An operation; all, in short, without."),
    ] = None,
) -> None:
    """Show an operation's ladder: ideas, and tests passed."""
    from minimask.tools.kernel_lab import record, report

    if op is None:
        _overview()
        return
    for line in report.ladder(_operation(op), record.read()):
        typer.echo(line)


@app.command("check", epilog=CHECK_EPILOG)
def check(
    target: Annotated[
        str | None, typer.Argument(metavar="OP|FILE", help="Operation, or your .cu or .py file.")
    ] = None,
    op: Annotated[str | None, typer.Option(help="What your file computes.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only this rung; repeatable.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Only this tier; repeatable.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every operation.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Write kernels/record.json.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes.", show_default="cores")] = None,
    seconds: Annotated[float, typer.Option(help="Limit for your file.")] = 120,
) -> None:
    """Test kernels in every way this machine can; the exit code is 1 if one fails."""
    from minimask.tools.kernel_lab import tiers

    is_file = target is not None and Path(target).suffix in (".cu", ".cuh", ".py")
    if (target is None) != all_:
        raise WrongUse("name an operation or your file, or --all for every operation")
    if is_file:
        assert target is not None
        if variant or record:
            raise WrongUse("--variant and --record are for the project's own rungs, not for a file")
        _finish(list(_check_file(Path(target), op, tier or [], seconds)))
        return
    if op is not None:
        raise WrongUse("--op goes with a file: minimask kernels check my_kernel.cu --op roi_align")
    known = dict.fromkeys((*tiers.CUDA_TIERS, *tiers.NUMBA_TIERS))
    for name in tier or []:
        if name not in known:
            raise WrongUse(f"--tier {name}: there is {', '.join(known)}")
    _check_rungs(target, variant or [], tier or [], record, jobs)


def _check_file(file: Path, op: str | None, only: list[str], seconds: float) -> list[Result]:
    from minimask.tools.kernel_lab import report, student

    contract = student.find(file, op)
    for name in only:
        if name not in student.TIERS[file.suffix]:
            raise WrongUse(
                f"--tier {name}: a {file.suffix} file has {', '.join(student.TIERS[file.suffix])}"
            )
    results = []
    for result in student.check(file, contract, only, seconds):
        typer.echo(report.result(result))
        results.append(result)
    return results


def _check_rungs(
    op: str | None, names: list[str], only: list[str], keep: bool, jobs: int | None
) -> None:
    from minimask.tools.kernel_lab import pages, parallel, report, values
    from minimask.tools.kernel_lab import record as records

    ops = parallel.with_cases() if op is None else [_operation(op)]
    if not parallel.with_cases(ops):
        raise ValueError(f"{op}: its rungs run on the CPU only, and the tests check them")
    for name in names:
        if op is None or name not in values.variants(op):
            known = ", ".join(values.variants(op)) if op else "name its operation"
            raise WrongUse(f"--variant {name}: {known}")
    rungs = [rung for rung in parallel.rungs(ops) if not names or rung[1] in names]
    results = []
    for place, result in parallel.check(rungs, only, jobs):
        typer.echo(report.result(result, "" if op else f"{place:11}"))
        results.append((place, result))
    if keep:
        records.update(results)
        typer.echo(f"recorded in {records.FILE}; pages changed: {', '.join(pages.write()) or '-'}")
    _finish([result for _, result in results])


def _finish(results: list[Result]) -> None:
    passed = sum(r.passed is True for r in results)
    failed = sum(r.passed is False for r in results)
    text = f"{passed} passed, {failed} failed, {len(results) - passed - failed} not run"
    typer.echo(text if results else "nothing to check: no rung has that tier")
    if failed or not results:
        raise typer.Exit(1)


@app.command("start", epilog=START_EPILOG)
def start(
    op: Operation,
    file: Annotated[Path, typer.Argument(help="To write, .cu or .py.", show_default=False)],
) -> None:
    """Write a kernel to be filled in, and what it is to compute."""
    from minimask.tools.kernel_lab import templates
    from minimask.tools.kernel_lab.contracts import contracts

    if op not in contracts():
        raise WrongUse(f"{op}: a kernel can be tried for {', '.join(contracts())}")
    templates.write(file, contracts()[op])
    typer.echo(f"{file}: fill it in, then: minimask kernels check {file} --op {op}")


@app.command("count", epilog=COUNT_EPILOG)
def count(
    op: Operation,
    variant: Annotated[
        str | None, typer.Option(help="A CUDA C++ rung.", show_default="all of them")
    ] = None,
    case: Annotated[
        str | None, typer.Option(help="Of the operation.", show_default="the largest")
    ] = None,
) -> None:
    """Count what threads read and write, and what warps make of it."""
    from minimask.tools.kernel_lab import bench, counting, report, values

    ladder = values.variants(_operation(op))
    names = [n for n, v in ladder.items() if v.folder == "cuda"]
    if not names:
        raise ValueError(f"{op} has no CUDA C++ rungs to count")
    if variant is not None and variant not in names:
        raise WrongUse(f"--variant {variant}: {op} has the CUDA C++ rungs {', '.join(names)}")
    cases = [c for c in values.cases(op) if case in (None, c.name)]
    if not cases:
        every = dict.fromkeys(c.name for c in values.cases(op))
        raise WrongUse(f"--case {case}: there is {'; '.join(every)}")
    largest = {}
    for one in sorted(cases, key=lambda c: sum(a.nbytes for a in bench.arrays(c.arguments))):
        largest[one.function] = one
    for name in [variant] if variant else names:
        for one in largest.values():
            if values.has(op, name, one.function):
                typer.echo(f"{name}: {one.function}, case {one.name!r}")
                for line in report.counted(counting.count(op, name, one)):
                    typer.echo(line)


@app.command("bench", epilog=BENCH_EPILOG)
def bench(
    op: Operation,
    variant: Annotated[list[str] | None, typer.Option(help="Only this rung; repeatable.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Sizes of tests, not of a model.")] = False,
    seconds: Annotated[float, typer.Option(help="For the runs of one rung.")] = 1.0,
    json: Annotated[Path | None, typer.Option(help="Write the numbers.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a roofline, .png.")] = None,
) -> None:
    """Time the ladder on the GPU beside torch, or without one the CPU's rungs."""
    from minimask.system.files import write_whole
    from minimask.tools.kernel_lab import bench as clock
    from minimask.tools.kernel_lab import parallel, tiers, timings

    if not parallel.with_cases([_operation(op)]):
        raise ValueError(f"{op} has no workloads to time")
    if picture is not None and small:
        raise WrongUse("--picture needs workloads whose operations are counted: leave out --small")
    why = tiers.why_no_gpu()
    typer.echo(f"on the CPU: {why}" if why else "on the GPU")
    ceiling = clock.ceilings(gpu=not why, seconds=seconds)
    most = f"{ceiling.copy:.4g} GB/s copying, {ceiling.matrix:.4g} GFLOP/s multiplying"
    tensor = f", {ceiling.matrix_tf32:.4g} in TF32" if ceiling.matrix_tf32 else ""
    typer.echo(f"{ceiling.device}: {most}{tensor}")
    if not why and clock.why_no_peers():
        typer.echo(f"nothing of torch beside it: {clock.why_no_peers()}")
    measures, last = [], ("", "")
    for one in clock.bench(op, variant or [], gpu=not why, small=small, seconds=seconds):
        if (one.function, one.workload) != last:
            last = (one.function, one.workload)
            typer.echo(f"\n{one.function}: {one.workload}\n{timings.HEADER}")
        typer.echo(timings.row(one, ceiling))
        measures.append(one)
    if json is not None:
        write_whole(json, timings.as_json(measures, ceiling).encode())
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        timings.picture(picture, measures, ceiling)


@app.command("pages")
def pages() -> None:
    """Bring the tables of tests in kernels/*/README.md up to date."""
    from minimask.tools.kernel_lab import pages as tables

    typer.echo(f"pages changed: {', '.join(tables.write()) or 'none'}")


def _operation(name: str) -> str:
    from minimask.kernels import OPERATIONS

    if name not in OPERATIONS:
        raise WrongUse(f"{name}: no such operation; there is {', '.join(OPERATIONS)}")
    return name
