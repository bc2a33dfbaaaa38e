"""bfloat16 only where the processor computes in it."""

import pytest
import torch

from visual_insertion_pack.pipelines.training.precision import autocast, computes_in_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has_library", "expected"), [(True, True), (False, False)])
def test_a_build_without_the_library_is_not_asked(monkeypatch, has_library, expected):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_library)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert computes_in_bfloat16(CPU) == expected
    assert computes_in_bfloat16(torch.device("cuda"))


@pytest.mark.parametrize("native", [True, False])
def test_the_forward_pass_is_in_bfloat16_where_it_is_native_and_asked_for(monkeypatch, native):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: native)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    matrix = torch.ones(2, 2)
    with autocast(CPU):
        assert (matrix @ matrix).dtype == (torch.bfloat16 if native else torch.float32)
    with autocast(CPU, "fp32"):
        assert (matrix @ matrix).dtype == torch.float32
