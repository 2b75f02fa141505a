"""What the operations would make a GPU do, checked on the recording device."""

import asyncio

import numpy as np
import pytest
from op_cases import CASES, Case, floats, matrix
from recorded import launches, record_case

from voxtral.errors import DeviceError
from voxtral.gpu.commands import PARAMS_STRIDE, Program
from voxtral.gpu.device import Dispatch
from voxtral.gpu.recording import RecordingDevice
from voxtral.gpu.tensor import Tensor
from voxtral.ops.webgpu import WebGpuOps


def layer_program(ops: WebGpuOps, dim: int, n_rows: int) -> Program:
    """SwiGLU, product onto the residual, twice; returns the first half's activations."""
    rng = np.random.default_rng(0)
    x, weight = ops.tensor(floats(rng, n_rows, dim)), ops.tensor(floats(rng, dim))
    up, down = (asyncio.run(matrix(ops, rng, [n_rows], dim)) for n_rows in (2 * dim, dim))

    def build() -> Tensor:
        halves = []
        for _ in range(2):
            halves.append(ops.norm_swiglu(x, weight, up))
            ops.linear_add(halves[-1], down, x)
        return halves[0]

    return asyncio.run(ops.program(build, "layer"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_dispatches_respect_webgpu(case: Case) -> None:
    for serial in (False, True):
        device = record_case(Case(case.scenario, case.arguments, serial, case.max_binding_bytes))
        assert device.submits
        for dispatch in (dispatch for submit in device.submits for dispatch in submit):
            check_dispatch(device, dispatch)


def check_dispatch(device: RecordingDevice, dispatch: Dispatch) -> None:
    limits = device.limits
    assert all(1 <= n <= limits.max_compute_workgroups_per_dimension for n in dispatch.grid)
    written = [
        b.buffer
        for b, access in zip(dispatch.bind_group, dispatch.pipeline.bindings, strict=True)
        if access == "read_write"
    ]
    for buffer in written:
        uses = [binding for binding in dispatch.bind_group if binding.buffer is buffer]
        assert len(uses) == 1, f"{dispatch.pipeline.label} binds a buffer it writes twice"
    for binding, access in zip(dispatch.bind_group, dispatch.pipeline.bindings, strict=True):
        assert binding.size % 4 == 0
        assert 0 < binding.size <= limits.max_storage_buffer_binding_size
        assert binding.offset % limits.min_uniform_buffer_offset_alignment == 0
        assert binding.offset + binding.size <= len(binding.buffer.data)
        assert binding.buffer.uniform == (access == "uniform")


def test_a_program_counts_its_dispatches_and_replays_without_uploads() -> None:
    device = RecordingDevice()
    ops = WebGpuOps(device)
    program = layer_program(ops, 96, 1)
    assert program.dispatch_count == 4
    n_writes, n_buffers = len(device.writes), len(device.buffers)
    for _ in range(3):
        ops.submit([program, program])
    assert [len(submit) for submit in launches(device)] == [8] * 3
    assert (len(device.writes), len(device.buffers)) == (n_writes, n_buffers)


def test_parameters_are_written_once_in_one_piece() -> None:
    device = RecordingDevice()
    program = layer_program(WebGpuOps(device), 96, 70)
    uniform_writes = [(offset, n_bytes) for buffer, offset, n_bytes in device.writes if buffer is program.params]
    assert uniform_writes == [(0, program.dispatch_count * PARAMS_STRIDE)]
    rows_and_quads = np.frombuffer(program.params.data[:8], np.uint32)
    assert rows_and_quads.tolist() == [70, 96 // 4]  # the first dispatch is rms_norm


def test_pipelines_know_no_shapes() -> None:
    device = RecordingDevice()
    ops = WebGpuOps(device, serial=True)
    layer_program(ops, 96, 2)
    labels = [pipeline.label for pipeline in device.pipelines]
    assert len(labels) == len(set(labels))
    layer_program(ops, 160, 7)
    assert [pipeline.label for pipeline in device.pipelines] == labels


def test_scratch_is_shared_and_outputs_are_not() -> None:
    device = RecordingDevice()
    ops = WebGpuOps(device)
    first = layer_program(ops, 96, 1)
    n_buffers = len(device.buffers)
    second = layer_program(ops, 96, 1)
    new = [buffer.label for buffer in device.buffers[n_buffers:]]
    assert [label for label in new if label.startswith("scratch")] == []
    kept = first.outputs.memory.buffer
    ops.submit([first])
    ops.submit([second])
    writes = [
        [i for i, dispatch in enumerate(submit) for binding in dispatch.bind_group[:-1] if binding.buffer is kept]
        for submit in launches(device)
    ]
    assert writes == [[0, 1], []]  # norm_swiglu writes it, linear_add reads it, nobody else ever


def test_a_scratch_buffer_is_not_lent_while_its_tensor_is_needed() -> None:
    device = RecordingDevice()
    ops = WebGpuOps(device)
    x, weight = ops.tensor(np.ones((1, 64), np.float32)), ops.tensor(np.ones(64, np.float32))
    square = asyncio.run(matrix(ops, np.random.default_rng(0), [64], 64))

    def build() -> None:
        early = ops.rms_norm(x, weight)
        late = ops.linear(ops.rms_norm(ops.rms_norm(x, weight), weight), square)
        ops.linear_add(early, square, late)

    ops.submit([asyncio.run(ops.program(build, "two lives"))])
    early, middle, last = (launches(device)[0][i].bind_group[2].buffer for i in range(3))
    late = launches(device)[0][3].bind_group[5].buffer
    assert early is launches(device)[0][4].bind_group[0].buffer
    assert early not in (middle, last, late)
    assert late is middle  # free again, same size


def test_a_grid_no_dimension_allows_is_refused() -> None:
    ops = WebGpuOps(RecordingDevice(), serial=True)
    x = ops.tensor(np.zeros((4 * 65_536, 32), np.float32))
    weight = asyncio.run(matrix(ops, np.random.default_rng(0), [4], 32))
    with pytest.raises(DeviceError, match=r"matmul_q4_0.* needs a grid of \(1, 1, 65536\)"):
        asyncio.run(ops.program(lambda: ops.linear(x, weight), "tall"))


def test_mathematics_outside_a_program_is_an_error() -> None:
    ops = WebGpuOps(RecordingDevice())
    x = ops.tensor(np.zeros((1, 32), np.float32))
    with pytest.raises(RuntimeError, match="inside the function given to program"):
        ops.advance_encoder(x, 4, x)


def test_shapes_that_do_not_fit_are_errors() -> None:
    ops = WebGpuOps(RecordingDevice())
    x, weight = ops.tensor(np.zeros((1, 64), np.float32)), ops.tensor(np.zeros(32, np.float32))
    with pytest.raises(ValueError, match=r"rms_norm cannot take shapes \[1, 64\], \[32\]"):
        asyncio.run(ops.program(lambda: ops.rms_norm(x, weight), "misfit"))
