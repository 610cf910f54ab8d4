"""Sums of floats that are exact, whatever the order of the rows: parts in SQL, put together here.

A float that a decimal with six digits after its point is written as, such as 0.1 or any price,
counts as that decimal, in millionths. Any other counts as the binary fraction that it is, in
whole parts of `UNIT_EXPONENT`: its 53 bits, moved to the next lower multiple of `PLACE_BITS`, with
a sum for each multiple. The result is rounded once, to the nearest float.

PERF: 2.5 M rows in 50 ms, against 11 ms for storage's own sum, which depends on the order.
"""

import sys
from collections.abc import Sequence
from fractions import Fraction

MILLION = 1_000_000
UNIT_EXPONENT = -1074
"""The smallest float is two to the power of this."""
PLACE_BITS = 32
FLOAT_MAX = sys.float_info.max
Parts = tuple[int, int, tuple[Sequence[int], Sequence[int]]]
"""As `sum_parts` has them: how many numbers, their millionths, (places, sums) of the others."""


def _is_decimal(x: str) -> str:
    return (
        f"((abs({x}) < 4e18 AND {x} = trunc({x}))"
        f" OR (abs({x}) < 8e9 AND round({x} * 1e6) / 1e6 = {x}))"
    )


def _millionths(x: str) -> str:
    """SQL of a decimal in millionths, 0 of any other number."""
    whole = f"toInt128(toInt64(if(abs({x}) < 4e18, {x}, 0.))) * {MILLION}"
    decimal = f"toInt128(toInt64(round(if(abs({x}) < 8e9, {x}, 0.) * 1e6)))"
    return f"multiIf(NOT {_is_decimal(x)}, toInt128(0), {x} = trunc({x}), {whole}, {decimal})"


def sum_parts(column: str) -> str:
    """SQL of the sum over a Nullable(Float64), for `total` and `average`."""
    x = f"assumeNotNull({column})"
    exponent = f"bitAnd(bitShiftRight(reinterpretAsUInt64({x}), 52), 2047)"
    place = f"greatest({exponent}, 1) - 1"
    bits = f"bitAnd(reinterpretAsUInt64({x}), {2**52 - 1}) + if({exponent} = 0, 0, {2**52})"
    moved = f"toInt128({bits}) * toInt128(bitShiftLeft(toUInt64(1), ({place}) % {PLACE_BITS}))"
    others = (
        f"sumMapIf([toUInt8(intDiv({place}, {PLACE_BITS}))],"
        f" [if({x} < 0, -1, 1) * {moved}], isNotNull({column}) AND NOT {_is_decimal(x)})"
    )
    millionths = f"sumIf({_millionths(x)}, isNotNull({column}))"
    return f"(count({column}), {millionths}, {others})"


def order_by_sum(column: str) -> str:
    """SQL of a float to order sums by, NULL where there is none."""
    parts = sum_parts(column)
    others = (
        f"arraySum((place, bits) -> toFloat64(bits) * pow(2, place * {PLACE_BITS} +"
        f" ({UNIT_EXPONENT})), {parts}.3.1, {parts}.3.2)"
    )
    return f"if({parts}.1 = 0, NULL, toFloat64({parts}.2) / {MILLION} + {others})"


def row_sum(numbers: str) -> str:
    """SQL of the sum over an array of floats, as one float."""
    decimals = f"toFloat64(arraySum(x -> {_millionths('x')}, {numbers})) / {MILLION}"
    others = f"arraySum(x -> if({_is_decimal('x')}, 0., x), {numbers})"
    return f"greatest(least({decimals} + {others}, {FLOAT_MAX!r}), -{FLOAT_MAX!r})"


def total(parts: Parts) -> float | None:
    """The sum, None of no numbers; the largest float where it lies beyond."""
    return None if not parts[0] else _nearest(_exact(parts))


def average(parts: Parts) -> float | None:
    """None of no numbers."""
    return None if not parts[0] else _nearest(_exact(parts) / parts[0])


def _exact(parts: Parts) -> Fraction:
    _, millionths, (places, sums) = parts
    bits = sum(bits << place * PLACE_BITS for place, bits in zip(places, sums, strict=True))
    return Fraction(millionths, MILLION) + Fraction(bits, 1 << -UNIT_EXPONENT)


def _nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return FLOAT_MAX if exact > 0 else -FLOAT_MAX
