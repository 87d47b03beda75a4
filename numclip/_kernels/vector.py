"""Eight float64s in the processor's registers, which a rule takes as it takes one number."""

import operator
from typing import Any

from numclip._compile import intrinsic, ir, models, overload, register_model, types

WIDTH = 8
VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)

# Multiply and add at once, where the processor can. LLVM asks it of both.
_AT_ONCE = ("contract",)


class Vector(types.Type):  # type: ignore[misc]
    """Eight numbers; those that were float32 have products that no float64 rounds."""

    def __init__(self, has_exact_products: bool) -> None:
        super().__init__(f"Vector(has_exact_products={has_exact_products})")
        self.has_exact_products = has_exact_products


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@intrinsic  # type: ignore[untyped-decorator]
def _product(typing_context: Any, a: Any, b: Any) -> Any:
    def multiply(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments, flags=_AT_ONCE if a.has_exact_products else ())

    return Vector(has_exact_products=False)(a, b), multiply


@overload(operator.mul)
def _multiplied(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _product(a, b)
    return None


def add(builder: Any, sums: Any, numbers: Any) -> Any:
    """Generate the sum of two vectors. No bit depends on whether products are added at once."""
    return builder.fadd(sums, numbers, flags=_AT_ONCE)
