"""`minimask doctor`: what this machine has and what the package uses of it."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """
Paste the output into a bug report. The exit code is 1 when something needed does not work; a
missing GPU is no problem, nor is what could be faster.

Every command keeps freed memory for the next arrays, lets idle threads sleep soon
(OMP_WAIT_POLICY=passive, GOMP_SPINCOUNT=10000, OPENBLAS_THREAD_TIMEOUT=12), and on a processor with
AVX-512 sets OPENBLAS_CORETYPE=SkylakeX, as OpenBLAS takes slower kernels on processors it does not
know. What you have set stays; with MINIMASK_KEEP_ENVIRONMENT=1 everything does. Python programs get
the same from minimask.system.runtime.prepare(), called before NumPy is imported.
"""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show versions, BLAS and its kernels, threads, memory, and the GPU or why there is none.

    Compiles one kernel if that was not done yet, which takes some seconds.
    """
    from minimask.system import environment

    sections = environment.report()
    problems = [problem for section in sections for problem in section.problems]
    advice = [sentence for section in sections for sentence in section.advice]
    if as_json:
        import json

        content = {section.title: section.facts for section in sections}
        typer.echo(json.dumps({**content, "advice": advice, "problems": problems}, indent=2))
    else:
        width = max(len(name) for section in sections for name in section.facts)
        for section in sections:
            typer.echo(section.title)
            for name, value in section.facts.items():
                typer.echo(f"  {name:{width}}  {value}")
        for sentence in advice:
            typer.echo(f"advice: {sentence}")
        typer.echo("\n".join(f"problem: {problem}" for problem in problems) or "no problems found")
    if problems:
        raise typer.Exit(1)
