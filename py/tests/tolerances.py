"""How far each kernel may be from the numpy reference, and why.

Normalised mean squared error: sum((found - expected)^2) / sum(expected^2). Integers must be equal.
Budgets are two to ten times the worst case measured in naga on llvmpipe and in Tint on SwiftShader.
"""

from typing import NamedTuple


class Budget(NamedTuple):
    nmse: float
    why: str


F32_SUM = "float32 sums in another order than numpy's"

BUDGETS = {
    "conv1d_gelu": Budget(1e-12, F32_SUM + "; erf to 1.5e-7"),
    "rms_norm": Budget(1e-13, F32_SUM + "; inverseSqrt to 2 ulp"),
    "linear": Budget(1e-11, F32_SUM + ", up to 9216 terms; weights are exact in float32; erf to 1.5e-7"),
    "linear_add": Budget(1e-12, F32_SUM),
    "norm_linear": Budget(1e-11, F32_SUM + "; the norm is applied after the product"),
    "norm_swiglu": Budget(1e-11, F32_SUM + "; exp to 3 + 2|x| ulp"),
    "ada_norm_weight": Budget(1e-13, "two roundings"),
    "norm_qkv": Budget(1e-11, F32_SUM + "; a turn is two products and a sum, perhaps fused"),
    "norm_qkv float16": Budget(1e-7, "a value beside a rounding boundary may fall to the other side, 2^-11 away"),
    "attention": Budget(5e-12, F32_SUM + "; exp to 3 + 2|x| ulp, softmax shifted by running maxima"),
    "attention float16": Budget(5e-12, "as float32: keys and values are exact once they are float16"),
    "embed": Budget(1e-13, "one product and one sum"),
    "argmax_advance": Budget(1e-12, F32_SUM + "; exp to 3 + 2|x| ulp; ids are integers"),
    "advance_encoder": Budget(0.0, "integers"),
    "decode_loop": Budget(0.0, "tokens are integers; the table's rows are far apart"),
    "scratch_reuse": Budget(1e-11, F32_SUM + ", over four layers"),
}

PACKED = Budget(3e-9, "activations of one row are rounded to 16 bits, eight at a time")
PACKED_CHAIN = Budget(5e-8, "four layers of it")
PACKED_SCENARIOS = {"linear", "linear_add", "norm_linear", "norm_swiglu", "norm_qkv"}
