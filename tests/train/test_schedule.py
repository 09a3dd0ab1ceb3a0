"""Learning-rate factors at the steps where they are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.train.schedule import warmup, warmup_cosine, warmup_step
from minimask.train.settings import TrainSettings
from minimask.train.step import learning_rate


def test_warmup_by_hand():
    assert warmup(0, 1000) == 0.001
    assert warmup(500, 1000) == pytest.approx(0.5005)
    assert warmup(1000, 1000) == 1.0
    assert warmup(0, 0) == 1.0


def test_the_papers_schedule():
    # 90 000 steps, divided by 10 at 60 000 and 80 000
    factor = [
        warmup_step(s, warmup_steps=1000, milestones=(60_000, 80_000))
        for s in (1000, 59_999, 60_000, 79_999, 80_000, 89_999)
    ]
    assert factor == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_by_hand():
    at = {s: warmup_cosine(s, total_steps=110, warmup_steps=10) for s in (10, 35, 60, 85, 110)}
    half = math.sqrt(0.5)
    expected = [1, (1 + half) / 2, 0.5, (1 - half) / 2, 0]
    assert list(at.values()) == pytest.approx(expected)
    assert warmup_cosine(110, total_steps=110, warmup_steps=10, end=0.1) == pytest.approx(0.1)


@given(st.integers(1, 500), st.integers(0, 600))
def test_cosine_rises_then_falls_and_is_never_negative(total, warm):
    factors = [warmup_cosine(s, total_steps=total, warmup_steps=warm) for s in range(total)]
    assert all(0 < f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_settings_choose_the_schedule():
    shared = {"steps": 90, "lr": 2.0, "warmup": 0}
    at = {
        kind: [learning_rate(TrainSettings(schedule=kind, **shared), s) for s in (0, 59, 60, 80)]
        for kind in ("cosine", "step", "constant")
    }
    assert at["step"] == pytest.approx([2, 2, 0.2, 0.02])
    assert at["constant"] == [2, 2, 2, 2]
    assert at["cosine"][0] == 2
    chosen = TrainSettings(schedule="step", milestones=(10,), **shared)
    assert learning_rate(chosen, 10) == pytest.approx(0.2)
