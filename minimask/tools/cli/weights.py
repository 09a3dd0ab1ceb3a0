"""`minimask weights`: look into files of weights, turn them into others, compare, fetch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.tools.cli import WrongUse, weights_compare
from minimask.tools.cli.outputs import files_of, keep_existing, refuse_overwriting
from minimask.tools.cli.sources import open_model

if TYPE_CHECKING:
    from minimask.weights.published import Published

FORMATS = (".safetensors", ".npz")
SYSTEMS = ("torchvision", "detectron2")
SOURCE = "A file of any system that is known, a run's folder, or a checkpoint's."
MODEL = "Network, for a file of which it cannot be recognised."

app = typer.Typer(
    help="Look into files of weights, turn them into others, compare them, fetch them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

INSPECT_EPILOG = """
Nothing is built or run: everything shown comes from the names, shapes and numbers in the file.

[bold]Examples[/bold]

minimask weights inspect maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth

minimask weights inspect runs/mine --all
"""

CONVERT_EPILOG = """
[bold].safetensors[/bold]: with the network, its classes and its convention inside, so that it opens
again everywhere without options.

[bold].npz[/bold]: the arrays alone.

[bold]Examples[/bold]

minimask weights convert model_final_f10217.pkl r50.safetensors

minimask weights convert runs/mine mine.npz
"""

EXPORT_EPILOG = """
The arrays get the names and the layout of the other system, which then loads them strictly.

[bold]Examples[/bold]

minimask weights export runs/mine mine.pth --to torchvision

minimask weights export r50.safetensors r50.pkl --to detectron2
"""

LIST_EPILOG = """
Where the whole SHA-256 of a file is not known, the digits that its publisher put into its name are
what `minimask weights get` compares.

[bold]Examples[/bold]

minimask weights list mask_rcnn R_50

minimask weights list --system torchvision --json
"""

GET_EPILOG = """
A cut download goes on where it was: give the same command again. What arrives wrong is not kept.
Nothing else in minimask ever downloads anything.

[bold]Examples[/bold]

minimask weights get maskrcnn_resnet50_fpn

minimask weights get mask_rcnn_R_50_FPN_3x --out weights/
"""


@app.command("inspect", epilog=INSPECT_EPILOG)
def inspect(
    file: Annotated[Path, typer.Argument(help=SOURCE, show_default=False)],
    every: Annotated[bool, typer.Option("--all", help="List every array.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what a file of weights is: network, classes, convention, numbers, what looks wrong."""
    from minimask.tools.info import weight_file

    found = weight_file.inspect_weights(file)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        typer.echo(weight_file.table(found, every=every))


@app.command("convert", epilog=CONVERT_EPILOG)
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help=SOURCE, show_default=False)],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A name that ends in .safetensors or .npz.", show_default=False
        ),
    ],
    model: Annotated[str | None, typer.Option(help=MODEL)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write the weights of any system's file as one of minimask's own."""
    if out.suffix not in FORMATS:
        raise WrongUse(f"OUT: expected a name that ends in {' or '.join(FORMATS)}, got {out}")
    _check_output(source, out, force)
    opened = open_model(source, model)
    from minimask.weights import save_weights

    save_weights(opened.model, out)
    config = opened.model.config
    kept = "; the network itself is not in it" if out.suffix == ".npz" else ""
    typer.echo(
        f"{out}: {config.get('model')}, {len(opened.model.classes)} classes, convention "
        f"{opened.model.convention.name}, {out.stat().st_size / 1e6:.1f} MB{kept}"
    )


@app.command("export", epilog=EXPORT_EPILOG)
def export(
    source: Annotated[Path, typer.Argument(metavar="IN", help=SOURCE, show_default=False)],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write.", show_default=False)
    ],
    to: Annotated[str, typer.Option("--to", help=f"{' or '.join(SYSTEMS)}.", show_default=False)],
    model: Annotated[str | None, typer.Option(help=MODEL)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write the weights under another system's names, for that system to load."""
    if to not in SYSTEMS:
        raise WrongUse(f"--to: expected one of {', '.join(SYSTEMS)}, got {to!r}")
    _check_output(source, out, force)
    from minimask.weights import export_weights

    opened = open_model(source, model)
    export_weights(opened.model, out, to)
    typer.echo(f"{out}: {opened.model.config.get('model')} under {to}'s names")


def _check_output(source: Path, out: Path, force: bool) -> None:
    """Refuse an output that would replace what is read, or what is there."""
    if out.is_dir():
        raise ValueError(f"{out}: a folder; name a file")
    refuse_overwriting([out], [source, *files_of(source)])
    keep_existing([out], force)


@app.command("list", epilog=LIST_EPILOG)
def list_files(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Only files with all these words in them.", show_default=False),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="torchvision, detectron2, imagenet, mmdet or matterport."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List well-known published files: names, addresses, sizes and SHA-256."""
    from minimask.weights.published import choose, titles

    try:
        entries = choose(words or (), system)
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if as_json:
        typer.echo(json.dumps([entry.as_json() for entry in entries], indent=1))
        return
    if not entries:
        raise ValueError(f"no published file has {' and '.join(words or ())} in it")
    heads = titles()
    before = None
    for entry in entries:
        if entry.system != before:
            typer.echo(f"{'' if before is None else chr(10)}{heads[entry.system]}")
            before = entry.system
        typer.echo(f"  {entry.name}: {entry.what}\n    {entry.address}\n    {_known(entry)}")
    typer.echo(f"\n{len(entries)} files; fetch one with: minimask weights get {entries[0].name}")


def _known(entry: Published) -> str:
    """Size and hash as far as they are known."""
    if entry.size is not None:
        size = f"{entry.size} bytes"
    elif entry.about is not None:
        size = f"about {entry.about / 1e6:.1f} MB"
    else:
        size = "size not known"
    if entry.sha256 is not None:
        return f"{size}, SHA-256 {entry.sha256}"
    if entry.digest is None:
        return f"{size}, SHA-256 not known"
    name = {"sha256": "SHA-256", "md5": "MD5"}[entry.hashed or "sha256"]
    return f"{size}, {name} begins with {entry.digest}"


@app.command("get", epilog=GET_EPILOG)
def get(
    name: Annotated[
        str, typer.Argument(help="As `minimask weights list` names it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the file.")] = Path("."),
) -> None:
    """Fetch a published file over https, go on where it was cut, and check it."""
    from tqdm import tqdm

    from minimask.weights.published import find
    from minimask.weights.published.fetch import checked, fetch

    if out.exists() and not out.is_dir():
        raise WrongUse(f"--out {out} is a file; name a folder")
    try:
        entry = find(name)
    except ValueError as error:
        raise WrongUse(str(error)) from None
    typer.echo(f"{entry.what}: {entry.address}", err=True)
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def show(done: int, whole: int | None) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        file = fetch(entry, out, show)
    typer.echo(f"{file}: {file.stat().st_size} bytes; checked: {checked(entry)}")


app.command("compare", epilog=weights_compare.EPILOG)(weights_compare.compare)
