"""Whether damaged annotation files give a sentence, never a traceback, a hang or a full memory.

    python benchmarks/damaged_files.py                        2000 damages of every format
    python benchmarks/damaged_files.py --formats yolo --count 300 --seed 5
    python benchmarks/damaged_files.py --formats yolo --only 117     one of them, with its traceback

A small made data set of each format has one file damaged (damage.py), is opened with
`open_annotations` and read to the end.  Right is: it opens, or ValueError or OSError in one line
that names a file of the set.  Wrong is any other error, more than `--seconds` for one, more than
`--gigabytes` of memory, and any file written.  Exit code 1: something was wrong.

Each format runs in a process of its own, which is started anew behind a damage that ended it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "tests" / "data" / "formats")]

from damage import damages  # noqa: E402  (found by the line above)

LONGEST = 1500  # characters of a sentence
Maker = Callable[[pathlib.Path], Any]


class Late(BaseException):
    """One data set took too long."""


def makers() -> dict[str, Maker]:
    """Format -> function that makes a data set in a folder: `.path`, `.images`, `.files`."""
    import made_pixels

    return {**_documents(), **made_pixels.MAKERS}


def _documents() -> dict[str, Maker]:
    """Data sets whose annotations are text: converted ones, and three written here."""
    import made_pixels as made

    from minimask.data import open_annotations
    from minimask.data.writers import convert

    def converted(to: str, ending: str) -> Maker:
        def make(root: pathlib.Path) -> Any:
            source = made.mask_folders(root.with_name("source"), classes=True)
            data = open_annotations(source.path)
            out = root / "a.json" if to == "coco" else root
            convert(data, out, to, copy=to != "coco")
            if to == "coco":
                made.save_images(root / "images")
                _flat_names(out)
            files = sorted(path for path in root.rglob(ending) if not path.name.startswith("."))
            return made.Made(out, root / "images" if to == "coco" else None, {}, files)

        return make

    return {
        "coco": converted("coco", "*.json"),
        "labelme": converted("labelme", "*.json"),
        "yolo": converted("yolo", "[!.]*.[ty][xa]*"),
        "via": lambda root: _written(root, "via.json", _via),
        "cvat": lambda root: _written(root, "annotations.xml", _cvat),
        "label_studio": lambda root: _written(root, "export.json", _label_studio),
    }


def _flat_names(path: pathlib.Path) -> None:
    """Image names of a COCO file without folders, and half of the masks as polygons."""
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["file_name"] = image["file_name"].rpartition("/")[2]
    for annotation in content["annotations"][::2]:
        annotation["segmentation"] = [[2, 3, 20, 3, 20, 17.5, 2, 17], [30, 30, 40, 30, 35, 38]]
    path.write_text(json.dumps(content))


def _written(root: pathlib.Path, name: str, text: Callable[[list[str], int, int], str]) -> Any:
    """Images, and one file of annotations of them."""
    import made_pixels as made

    made.save_images(root / "images")
    names = [f"{stem}.png" for stem in made.scenes()]
    path = root / name
    path.write_text(text(names, made.W, made.H))
    return made.Made(path, root / "images", {}, [path])


POINTS = [(2, 3), (20, 3), (20, 17.5), (2, 17)]


def _via(names: list[str], width: int, height: int) -> str:
    shapes = [
        {
            "name": "polygon",
            "all_points_x": [x for x, _ in POINTS],
            "all_points_y": [y for _, y in POINTS],
        },
        {"name": "rect", "x": 5, "y": 6, "width": 20, "height": 9},
        {"name": "circle", "cx": 20, "cy": 15, "r": 8},
        {"name": "ellipse", "cx": 20, "cy": 15, "rx": 8, "ry": 5, "theta": 0.3},
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"class": "box"}} for s in shapes]
    return json.dumps(
        {
            f"{n}77": {"filename": n, "size": 77, "regions": regions, "file_attributes": {}}
            for n in names
        }
    )


def _cvat(names: list[str], width: int, height: int) -> str:
    points = ";".join(f"{x},{y}" for x, y in POINTS)
    shapes = f'<polygon label="box" points="{points}" occluded="0" z_order="1"/>' + (
        '<box label="disk" xtl="3" ytl="4" xbr="12.5" ybr="20" rotation="10"/>'
        '<ellipse label="disk" cx="20" cy="15" rx="6" ry="4"/>'
        '<mask label="box" rle="3, 4, 5, 4" left="2" top="3" width="4" height="4"/>'
    )
    images = "".join(
        f'<image id="{i}" name="{n}" width="{width}" height="{height}">{shapes}</image>'
        for i, n in enumerate(names)
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{head}{images}</annotations>"


def _label_studio(names: list[str], width: int, height: int) -> str:
    about = {"original_width": width, "original_height": height, "image_rotation": 0}
    share = [[x / width * 100, y / height * 100] for x, y in POINTS]
    polygon = {"points": share, "polygonlabels": ["box"]}
    box = {"x": 5, "y": 6, "width": 20, "height": 30, "rotation": 0, "rectanglelabels": ["disk"]}
    result = [
        {"id": "a", "type": "polygonlabels", **about, "value": polygon},
        {"id": "b", "type": "rectanglelabels", **about, "value": box},
    ]
    tasks = [
        {"id": i, "data": {"image": f"/data/upload/1/{name}"}, "annotations": [{"result": result}]}
        for i, name in enumerate(names)
    ]
    return json.dumps(tasks)


def attempt(format: str, data: Any, seed: int, number: int, seconds: float) -> str | None:
    """Damage a file in one way, read everything, mend it; what was wrong, or None."""
    random = Random(f"{format} {seed} {number}")
    file = random.choice(data.files)
    whole = file.read_bytes()
    how = random.choice(damages(file))
    root = data.path if data.path.is_dir() else data.path.parent
    try:
        if random.random() < 0.02:
            file.unlink()
            if random.random() < 0.5:
                file.mkdir()
        else:
            file.write_bytes(how(whole, file, random))
        before = _tree(root)
        named = random.random() < 0.5
        problem = _read(data, format if named else None, seconds)
        if problem is None and _tree(root) != before:
            problem = "something was written"
    finally:
        if file.is_dir():
            file.rmdir()
        file.write_bytes(whole)
    return problem and f"{format} {number}: {how.__name__} of {file.name}: {problem}"


def _read(data: Any, format: str | None, seconds: float) -> str | None:
    """Open and read everything; what was wrong, or None."""
    from minimask.data import open_annotations

    root = str(data.path if data.path.is_dir() else data.path.parent)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        found = open_annotations(data.path, data.images, format=format)
        for i in range(len(found)):
            found[i].masks.sum()
        found.coco()
    except (ValueError, OSError) as error:
        text = str(error)
        if root not in text:
            return f"the sentence names no file: {type(error).__name__}: {text[:300]!r}"
        if len(text) > LONGEST or "Traceback" in text:
            return f"not a sentence of people ({len(text)} characters): {text[:300]!r}"
    except Late:
        return f"more than {seconds:g} seconds{_place()}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}{_place()}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _place() -> str:
    """Where in minimask the error arose that is being handled."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    inside = [frame for frame in frames if "minimask" in frame.filename] or frames
    return f" ({pathlib.Path(inside[-1].filename).name}:{inside[-1].lineno})" if inside else ""


def _tree(root: pathlib.Path) -> list[tuple[str, int, int]]:
    found = []
    for folder, folders, names in os.walk(root):
        for name in [*folders, *names]:
            about = os.lstat(os.path.join(folder, name))
            size = about.st_size if name in names else 0
            found.append(
                (os.path.join(folder, name), size, about.st_mtime_ns if name in names else 0)
            )
    return sorted(found)


def run(format: str, numbers: range, seed: int, seconds: float) -> Iterator[tuple[int, str | None]]:
    """Damage a data set in several ways, in this process.

    Yields:
        Number of the damage and what was wrong, or None.
    """
    signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = makers()[format](pathlib.Path(folder) / "set")
        for number in numbers:
            yield number, attempt(format, data, seed, number, seconds)


def _late(*_: Any) -> None:
    raise Late


def _child(options: argparse.Namespace, format: str) -> None:
    """Print a line of JSON for each damage that was done."""
    import resource

    import numba  # noqa: F401  (its threads' stacks are no part of the limit)

    limit = int(options.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number, problem in run(
        format, range(options.first, options.count), options.seed, options.seconds
    ):
        print(json.dumps([number, problem]), flush=True)
        # a hang in C code does not see the alarm
        faulthandler.dump_traceback_later(4 * options.seconds + 20, exit=True)


def _watch(options: argparse.Namespace, format: str) -> tuple[int, list[str]]:
    """Run one format in processes of its own: the number of damages done, and what was wrong."""
    done, wrong, first = 0, [], 0
    while first < options.count:
        words = [sys.executable, __file__, "--child", "--formats", format, "--first", str(first)]
        for name in ("count", "seed", "seconds", "gigabytes"):
            words += [f"--{name}", str(getattr(options, name))]
        process = subprocess.run(words, capture_output=True, text=True)
        last = first - 1
        for line in process.stdout.splitlines():
            last, problem = json.loads(line)
            done += 1
            wrong += [problem] if problem else []
        if last + 1 >= options.count:
            break
        end = process.stderr.strip().splitlines()[-12:]
        wrong.append(f"{format} {last + 1}: ended the process ({process.returncode}): {end}")
        if last < first and process.returncode == 1:
            break  # not a damage: it cannot even start
        first = last + 2
    return done, wrong


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--formats", nargs="*", help="names; default: all")
    parser.add_argument("--count", type=int, default=2000, help="damages of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10, help="that one may take")
    parser.add_argument("--gigabytes", type=float, default=4, help="of address space")
    parser.add_argument("--only", type=int, help="one number, in this process, with its traceback")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    from minimask.data import formats

    known = makers()
    names = options.formats or list(formats.names())
    for name in names:
        if name not in known:
            print(f"{name}: no made data set here, so it is not tried")
    names = [name for name in names if name in known]
    if options.child:
        _child(options, names[0])
        return 0
    if options.only is not None:
        for number, problem in run(
            names[0], range(options.only, options.only + 1), options.seed, options.seconds
        ):
            print(number, problem)
        return 0
    failed = False
    for name in names:
        start = time.perf_counter()
        done, wrong = _watch(options, name)
        seconds = time.perf_counter() - start
        print(f"{name}: {done} damages, {len(wrong)} wrong, {seconds:.0f} s", flush=True)
        kinds: dict[str, str] = {}
        for problem in wrong:
            what = problem.partition(": ")[2].partition(": ")[2]
            kinds.setdefault(re.sub(r"\d+|'[^']*'", "", what), problem)
        for problem in list(kinds.values())[:20]:
            print(f"  {problem}", flush=True)
        failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
