"""The models compute what they computed when tests/goldens/same_results.json was recorded.

On a processor with the same libraries as the record's, bit for bit.  On any other, the numbers that
hang on no choice that rounding could turn (losses and gradients with recorded draws, sizes of the
stages before the first choice) up to rounding.  benchmarks/same_results.py says what is compared
and how the record is renewed; `--against` compares two versions completely, on any machine.
"""

from __future__ import annotations

import copy
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import pytest

import minimask as mm

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "same_results.py"
RECORD = ROOT / "tests" / "goldens" / "same_results.json"
# Sums of float32 in another order differ by 6e-8 times the root of the number of terms (here up to
# 16 000, which makes 8e-6).  Measured: OpenBLAS's
# kernels for processors without AVX2, and without AVX, differ from the record's by at most 3.1e-7
# in any of the 571 numbers.
TOLERANCE = 1e-5
# Sums in another order turn single units over at the corner of their ReLU, or another pixel wins a
# window's maximum, which a loss hardly sees, but a gradient's length does: up to 8e-5 between a
# processor with AVX-512 and one without, at losses within 8e-7.
GRADIENT_TOLERANCE = 3e-4


@pytest.fixture(scope="module")
def same():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        import same_results

        yield same_results


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORD.read_text())


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    """The same cases, in a process of its own: threads are set before NumPy is imported."""
    out = tmp_path_factory.mktemp("same") / "now.json"
    words = [sys.executable, SCRIPT, "--core", "--out", out, "--from", ROOT]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def numbers(results):
    """The results that any machine must give up to rounding, each as a list."""
    return {
        (case, key): value if isinstance(value, list) else [value]
        for case, values in results.items()
        for key, value in values.items()
        if key.startswith("numbers/")
    }


@pytest.mark.slow
def test_losses_and_first_stages_are_the_recorded_ones(recorded, now):
    expected, found = numbers(recorded["results"]), numbers(now["results"])
    assert found.keys() == expected.keys()
    assert len(found) > 400
    bounds = {k: GRADIENT_TOLERANCE if k[1].endswith("/grad") else TOLERANCE for k in found}
    others = {k: v for k, v in found.items() if v != pytest.approx(expected[k], bounds[k])}
    assert others == {}


@pytest.mark.slow
def test_every_bit_is_the_recorded_one(same, recorded, now):
    there, here = recorded["about"]["machine"], now["about"]["machine"]
    other = [f"{k}: {there[k]} there, {here[k]} here" for k in there if there[k] != here[k]]
    if other:
        pytest.skip(
            f"recorded on another kind of machine ({'; '.join(other)}): compare two checkouts "
            "with benchmarks/same_results.py --against CHECKOUT"
        )
    assert same.differences(recorded["results"], now["results"]) == []


def test_the_record_has_every_case_and_says_where_it_is_from(same, recorded):
    core = [case.name for case in same.cases.all_cases() if case.core]
    assert list(recorded["results"]) == core
    assert re.fullmatch("[0-9a-f]{40}", recorded["about"]["commit"])
    assert "benchmarks/same_results.py" in recorded["about"]["what"]
    assert RECORD.stat().st_size < 300_000


def test_every_recorded_number_is_finite_and_every_case_has_detections(recorded):
    for case, values in recorded["results"].items():
        assert all(math.isfinite(loss) for loss in values["step 1/losses"].values()), case
        assert values["predict/0"]["count"] > 0, case


def test_no_two_cases_are_the_same(same, recorded):
    results = recorded["results"]
    whole = [json.dumps(same.computed(case), sort_keys=True) for case in results.values()]
    assert len(set(whole)) == len(whole)


# ---- nothing is left out


def message_of(make=None, **options):
    with pytest.raises(ValueError) as caught:
        (make or mm.models.maskrcnn_laptop)(["a"], **options)
    return str(caught.value)


def test_every_option_of_the_factories_is_compared(same):
    listed = {
        option
        for make in (mm.models.maskrcnn_laptop, mm.models.keypointrcnn_laptop)
        for option in message_of(make, zzzzzzzz=1).split("Options: ")[1].split(", ")
    }
    assert listed == set(same.cases.SWITCHES)


def test_every_value_of_every_choice_is_compared(same):
    """Each choice names its values when it is given another one."""
    choices = {k: v for k, (_, v) in same.cases.SWITCHES.items() if isinstance(v[0], str)}
    assert len(choices) > 20
    for switch, values in choices.items():
        if switch in ("skeleton", "backbone"):  # a name is one of several forms, or one of many
            continue  # sizes of few families: see test_keypoint_rcnn.py, test_bodies.py
        make = mm.models.maskrcnn_laptop
        if switch.startswith("keypoint_"):
            make = mm.models.keypointrcnn_laptop
        message = message_of(make, **{switch: "zzz"})
        match = re.search(rf"{switch}: expected one of (.*), got 'zzz'", message)
        assert match, message
        compared = {*values, *(o[switch] for o in same.cases.TOGETHER if switch in o)}
        (own,) = set(match[1].split(", ")) - compared  # the factory's own, in all other cases
        needs = same.cases.SWITCHES[switch][0]
        make(["a"], **{"stem_channels": 8, **needs, switch: own})


def test_every_factory_and_convention_is_compared(same):
    from minimask.conventions import CONVENTIONS

    assert {*same.cases.FACTORIES, *same.cases.WITHOUT_OBJECTS} == set(mm.models.MODELS)
    assert set(same.cases.CONVENTIONS) == set(CONVENTIONS)


# ---- a difference is seen


def test_a_changed_missing_or_new_result_is_a_difference(same, recorded, capsys):
    assert same.compare(recorded, recorded) == 0
    assert "identical" in capsys.readouterr().out
    case = next(iter(recorded["results"]))
    for change in (
        lambda r: r[case]["step 1/losses"].update(
            loss_mask=r[case]["step 1/losses"]["loss_mask"] + 1e-9
        ),
        lambda r: r[case].pop("propose"),
        lambda r: r[case]["stages"].update(more="0"),
        lambda r: r.pop(case),
    ):
        other = copy.deepcopy(recorded)
        change(other["results"])
        assert same.compare(recorded, other) == 1
        assert case in capsys.readouterr().out
    assert same.compare({"results": {}}, {"results": {}}) == 1  # nothing compared is no success
