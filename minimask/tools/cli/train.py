"""`minimask train`: from images to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from minimask.data.augmentations import AUGMENTATIONS
from minimask.system import runtime
from minimask.tools.cli.conventions import CONVENTION
from minimask.tools.cli.outputs import refuse_overwriting
from minimask.tools.cli.regions import HELP, for_training, use_proposals
from minimask.tools.cli.sources import PAGE, WHITE, look_at_images
from minimask.tools.cli.train_checks import look_at, memory_needed
from minimask.tools.cli.train_settings import choose_settings
from minimask.tools.cli.train_words import Beginning, closing, opening

EPILOG = """
[bold]The five losses[/bold] are obj, rpn, cls, box and mask in the progress line; the total is
their sum. Values that start far above those given here, or do not fall, are a sign of trouble.

obj: is there something here? Asked of every anchor. Starts near ln 2 = 0.69.

rpn: how far proposed boxes are from the objects. Starts at about 0.1 or less and stays small.

cls: which class is it? Asked of every proposal. Starts near ln(K + 1) for K classes (0.69 for 1,
1.61 for 4) and soon falls, as most proposals are background.

box: how far each class's boxes are from the objects. Starts near 0, rises while there are more and
more good proposals to measure it on, then falls.

mask: is this the object? Asked of every pixel of a box. Starts near ln 2 = 0.69.

[bold]Recipes[/bold]: demo is generated images of 128 x 128 pixels, minutes on a laptop; nuclei is
for microscope images of cell nuclei: many small objects, flips and transposition; finetune goes
on from weights with your own images and classes: few steps, a low rate, the first layers frozen.

[bold]Examples[/bold]

minimask train --recipe demo --out runs/demo

minimask train --annotations train.json --images train --val-annotations val.json --val-images val
--out runs/mine

minimask train --data folder --images stage1_train --classes nucleus --out runs/nuclei

minimask train --recipe finetune --weights runs/mine --annotations new.json --images new
--out runs/new

minimask train --out runs/mine --resume

minimask train --out runs/mine --resume --steps 2000
"""

DATA, MODEL, TRAINING, RUN = "Data", "Model", "Training", "Run"


def _option(help: str, panel: str, default: Any = None) -> Any:
    """An option that is None unless given, so that recipes can tell; `default` is for the help."""
    text = help if default is None else f"{help} Default: {default}."
    return typer.Option(help=text, rich_help_panel=panel, show_default=False)


def train(
    out: Annotated[
        Path, typer.Option(help="Folder for everything the run leaves.", rich_help_panel=RUN)
    ],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where the run in --out stopped; with more --steps, train on.",
            rich_help_panel=RUN,
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress line.", rich_help_panel=RUN)
    ] = False,
    recipe: Annotated[
        str | None, _option("Settings known to work: demo, nuclei or finetune.", RUN)
    ] = None,
    data: Annotated[
        str | None,
        _option(
            "The format of the annotations, such as coco; or shapes: generated images.",
            DATA,
            "recognised",
        ),
    ] = None,
    annotations: Annotated[
        Path | None, _option("File or folder of annotations, of any known format.", DATA)
    ] = None,
    images: Annotated[
        Path | None,
        _option("Folder of the images.", DATA, "as the annotations say, or beside them"),
    ] = None,
    val_annotations: Annotated[
        Path | None, _option("Annotations of other images to be checked on.", DATA)
    ] = None,
    val_images: Annotated[Path | None, _option("Folder of those images.", DATA)] = None,
    classes: Annotated[
        str | None,
        _option("Names to learn, with commas; of folder the one name.", DATA, "all in the file"),
    ] = None,
    data_option: Annotated[
        list[str] | None,
        _option("NAME=VALUE: any other option of the data.", DATA),
    ] = None,
    white: Annotated[str | None, _option(WHITE, DATA, 65535)] = None,
    page: Annotated[int | None, _option(PAGE, DATA, "the first")] = None,
    shapes_size: Annotated[
        int | None, _option("Side of generated images in pixels.", DATA, 128)
    ] = None,
    augment: Annotated[
        str | None,
        _option(
            f"Random changes, with commas: {', '.join(AUGMENTATIONS)}.",
            DATA,
            "none",
        ),
    ] = None,
    model: Annotated[
        str | None,
        _option(
            "maskrcnn_laptop, maskrcnn_resnet18_fpn, ..34.., ..50.., ..101.., or fasterrcnn_.. "
            "(boxes only), retinanet_.. (one stage), rpn_.. (proposals), fastrcnn_.., rcnn_..",
            MODEL,
            "the one of --weights, else maskrcnn_laptop",
        ),
    ] = None,
    convention: Annotated[
        str | None, _option(CONVENTION, MODEL, "the one of --weights, else the model's")
    ] = None,
    size: Annotated[
        int | None, _option("Same as --min-size and --max-size with this number.", MODEL)
    ] = None,
    min_size: Annotated[
        str | None,
        _option(
            "Shorter side of the resized images in pixels; of several, each batch draws one.",
            MODEL,
            "the model's",
        ),
    ] = None,
    max_size: Annotated[
        int | None, _option("Limit of the longer side.", MODEL, "the model's")
    ] = None,
    anchors: Annotated[
        str | None,
        _option("Anchor sizes in pixels, one per level, with commas.", MODEL, "the model's"),
    ] = None,
    detections: Annotated[int | None, _option("Kept per image.", MODEL, 100)] = None,
    norm: Annotated[
        str | None,
        _option("batch (trained), frozen_batch or group.", MODEL, "batch for random weights"),
    ] = None,
    trainable_layers: Annotated[
        int | None,
        _option(
            "How many of the backbone's stem and four stages learn, counted from the end; the "
            "others stay as they are, norms too. 0: the heads alone.",
            MODEL,
            "5, all",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        _option("NAME=VALUE: any other option of the model; may be repeated.", MODEL),
    ] = None,
    weights: Annotated[
        Path | None,
        _option(
            "File, run or checkpoint to start from, of any classes: rows of classes that it does "
            "not know start anew. Without --model the network is the one of the file.",
            MODEL,
            "random weights",
        ),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        _option(
            "File to fill the backbone from instead: a classifier of images, e.g. torchvision's "
            "resnet50, or another detector.",
            MODEL,
        ),
    ] = None,
    proposals: Annotated[Path | None, _option(f"{HELP}.", MODEL, "windows on a grid")] = None,
    steps: Annotated[int | None, _option("Updates of the weights.", TRAINING, 1000)] = None,
    batch: Annotated[int | None, _option("Images per step.", TRAINING, 8)] = None,
    accumulate: Annotated[
        int | None, _option("Batches per update: a larger batch in less memory.", TRAINING, 1)
    ] = None,
    optimizer: Annotated[str | None, _option("adamw or sgd.", TRAINING, "adamw")] = None,
    lr: Annotated[
        float | None,
        _option("Highest learning rate; for sgd about 0.00125 x batch.", TRAINING, 0.001),
    ] = None,
    momentum: Annotated[float | None, _option("Of sgd.", TRAINING, 0.9)] = None,
    weight_decay: Annotated[
        float | None, _option("Not applied to norms and biases.", TRAINING, 0.01)
    ] = None,
    schedule: Annotated[
        str | None, _option("cosine, step or constant, after the warm-up.", TRAINING, "cosine")
    ] = None,
    warmup: Annotated[
        int | None, _option("Steps over which the rate rises from 0.", TRAINING, 100)
    ] = None,
    milestones: Annotated[
        str | None,
        _option("Steps at which `step` divides the rate by 10.", TRAINING, "2/3 and 8/9"),
    ] = None,
    stages: Annotated[
        str | None,
        _option(
            "What learns when, WHAT:STEPS with commas, e.g. heads:200,4+:200,all:100:0.1: 200 "
            "steps of the heads alone, 200 with the body's stages from the fourth on, 100 of "
            "everything at a tenth of the rate.",
            TRAINING,
            "everything learns always",
        ),
    ] = None,
    checkpoint_stages: Annotated[
        str | None,
        _option(
            "Stages of the body, from the image on, or all, whose insides the backward pass "
            "computes again instead of keeping them: less memory, more time.",
            TRAINING,
            0,
        ),
    ] = None,
    clip: Annotated[
        float | None, _option("Greatest length of the gradient; 0: any.", TRAINING, 5)
    ] = None,
    ema: Annotated[
        float | None, _option("Evaluate weights averaged with this decay.", TRAINING, "off")
    ] = None,
    seed: Annotated[int | None, _option("Of everything random.", TRAINING, 0)] = None,
    device: Annotated[
        str | None, _option("cpu, cuda, or cuda:1 for the second GPU.", TRAINING, "cpu")
    ] = None,
    threads: Annotated[int | None, _option("Processor cores to use.", TRAINING, "all")] = None,
    eval_every: Annotated[
        int | None, _option("Steps between evaluations.", RUN, "at the end")
    ] = None,
    val_limit: Annotated[
        int | None, _option("Images per evaluation before the last one.", RUN, "all")
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            "Evaluations without a better AP after which to stop, with the best weights; 0: any "
            "number.",
            RUN,
            0,
        ),
    ] = None,
    checkpoint_every: Annotated[int | None, _option("Steps.", RUN, 200)] = None,
    keep: Annotated[int | None, _option("Newest checkpoints kept.", RUN, 2)] = None,
    pictures: Annotated[
        int | None, _option("Validation images drawn at each evaluation.", RUN, 4)
    ] = None,
) -> None:
    """Train a model; the folder --out then holds weights, curves, pictures and metrics.

    Stop it with Ctrl-C at any time: --resume goes on from there, to the same weights bit for bit.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    run(given)


def run(given: dict[str, Any]) -> None:
    """Do what the options in `given` say; see `train`."""
    out, resume, quiet = given.pop("out"), given.pop("resume"), given.pop("quiet")
    device = given.pop("device", "cpu")
    for_training(given.get("proposals"))
    runtime.use_threads(given.get("threads"))  # before anything that loads NumPy
    beginning = Beginning(given, out, resume)
    settings = choose_settings(given, out, resume)
    beginning.check(settings)
    if settings.train.threads != given.get("threads"):  # a resumed run's own
        runtime.use_threads(settings.train.threads)

    from minimask.system.device import find
    from minimask.train import folder, open_data
    from minimask.train.loop import train as train_model

    if not resume:
        data = settings.data
        read = [data.annotations, data.images, data.val_annotations, data.val_images]
        read.append(settings.model.weights)
        refuse_overwriting((out,), (Path(path) for path in read if path))
    folder.check(out, settings, resume=resume)  # before anything slow
    find(device)
    settings = beginning.adopt(settings)
    dataset, val = open_data(settings)
    look_at(dataset, val)
    look_at_images(dataset)
    model = beginning.model(settings, dataset).to(device)
    proposals = settings.model.proposals
    use_proposals(model, Path(proposals) if proposals else None, device=device)
    if not quiet:
        typer.echo(opening(settings, model, dataset, out, beginning), err=True)
    if device != "cpu":
        typer.echo(memory_needed(settings, model, dataset), err=True)
    summary = train_model(model, dataset, settings, out, val=val, resume=resume, progress=not quiet)
    typer.echo(closing(summary, out))
