"""The compile gate leaves the process it runs in as it was."""

from __future__ import annotations

import pytest

from minimask.tools.kernel_lab import compile_gate

SOURCE = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'


@pytest.mark.usefixtures("nvrtc")
def test_an_empty_log_is_not_written_over_a_byte_that_python_shares():
    ptx, log = compile_gate.build(SOURCE, (), "compute_75", "twice.cu")
    assert log == "" and b".entry twice" in ptx
    assert [bytes([i])[0] for i in range(256)] == list(range(256))


def test_architectures_can_be_chosen(monkeypatch):
    monkeypatch.delenv(compile_gate.CHOSEN, raising=False)
    assert compile_gate.architectures() == compile_gate.ARCHITECTURES
    monkeypatch.setenv(compile_gate.CHOSEN, "75,90")
    assert compile_gate.architectures() == (75, 90)
    monkeypatch.setenv(compile_gate.CHOSEN, "90,91")
    with pytest.raises(ValueError, match="MINIMASK_ARCHITECTURES: '91' is none of 75, 80, 90, 100"):
        compile_gate.architectures()
