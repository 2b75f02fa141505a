"""A model file again, with matrices of another type: the same weights, exactly in F32 and rounded in F16 and BF16."""

from voxtral.gguf import header_bytes, padded, read_index
from voxtral.quant import GgmlType, dequantise, quantise
from voxtral.shards import MemorySource


async def retyped(data: bytes, kind: GgmlType) -> bytes:
    """The GGUF file with all matrices of that type."""
    index = await read_index(MemorySource(data, "model.gguf"))
    kinds = {
        name: kind if len(tensor.shape) == 2 else GgmlType(tensor.ggml_type) for name, tensor in index.tensors.items()
    }
    numbers = {key: value for key, value in index.metadata.items() if isinstance(value, str | int)}
    out = header_bytes(numbers, [(name, tensor.shape, kinds[name]) for name, tensor in index.tensors.items()])
    for name, tensor in index.tensors.items():
        raw = data[tensor.offset : tensor.offset + tensor.n_bytes]
        if kinds[name] != tensor.ggml_type:
            n_elements = tensor.n_bytes // GgmlType(tensor.ggml_type).block_bytes * 32
            raw = quantise(dequantise(raw, tensor.ggml_type, n_elements), kinds[name])
        out += raw.ljust(padded(len(raw)), b"\0")
    return out
