"""Build sdist and wheel, install the wheel in a new environment, try it from another folder.

Run as a script (`make package`), not by pytest: it needs the network and a minute.  The wheel is
built from the sdist, so a file that one of them forgets is missed by the comparison below.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = pathlib.Path(__file__).with_name("smoke.py")


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> None:
    """Run a command, echo it, stop at the first failure."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def build(work: pathlib.Path) -> pathlib.Path:
    """The wheel, built from an sdist of the files git knows (or of a copy of the folder)."""
    run(sys.executable, "-m", "build", "--outdir", work / "dist", ROOT, cwd=work)
    (wheel,) = (work / "dist").glob("*.whl")
    return wheel


def compare_with_checkout(wheel: pathlib.Path) -> None:
    """Every source file of minimask/ and kernels/ is in the wheel, and nothing called `kernels`."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = [*ROOT.glob("kernels/**/*.*")]
    for ending in ("py", "j2", "css", "js"):
        sources += ROOT.glob(f"minimask/**/*.{ending}")
    wanted = set()
    for path in sources:
        relative = path.relative_to(ROOT)
        if "__pycache__" in relative.parts or relative.parts[:2] == ("minimask", "kernels"):
            continue
        inside = relative if relative.parts[0] == "minimask" else pathlib.Path("minimask", relative)
        wanted.add(inside.as_posix())
    missing = sorted(wanted - packed)
    if missing:
        sys.exit("the wheel lacks " + ", ".join(missing))
    claimed = sorted(name for name in packed if name.startswith("kernels/"))
    if claimed:
        sys.exit("the wheel claims the import name `kernels`: " + ", ".join(claimed))
    print(f"{wheel.name}: {len(wanted)} source files, all there")


def main() -> None:
    """Build, compare, install, smoke."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="minimask-package-"))
    try:
        wheel = build(work)
        compare_with_checkout(wheel)
        venv.create(work / "env", with_pip=True)
        scripts = work / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, cwd=work)
        elsewhere = work / "elsewhere"
        elsewhere.mkdir()
        run(scripts / "python", SMOKE, cwd=elsewhere)
        run(scripts / "minimask", "doctor", cwd=elsewhere)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("package: built, installed elsewhere, works")


if __name__ == "__main__":
    main()
