"""Exact sums of floats, which do not depend on the order of the rows.

SQL computes integer parts of a sum, and Python adds them up.

- A float that stands for a decimal with up to six digits after the point, such as 0.1 or any price,
  counts as that decimal. These are added in millionths.
- Any other float counts as the binary fraction it is, a multiple of 2 ** `UNIT_EXPONENT`. Its 53
  bits are shifted so that the exponent is a multiple of `PLACE_BITS`. Each multiple has a sum of
  its own.

The result is rounded once, to the nearest float.

PERF: 2.5 M rows in 50 ms. The sum of ClickHouse takes 11 ms, but depends on the order of the rows.
"""

import sys
from collections.abc import Sequence
from fractions import Fraction

MILLION = 1_000_000
"""Millionths in 1."""
UNIT_EXPONENT = -1074
"""The smallest positive float is 2 to the power of this."""
PLACE_BITS = 32
"""Exponents of binary fractions are rounded down to multiples of this."""
FLOAT_MAX = sys.float_info.max
"""Sums that lie beyond the largest float become the largest float."""
Parts = tuple[int, int, tuple[Sequence[int], Sequence[int]]]
"""Result of `sum_parts`: (count of numbers, millionths of decimals, (places, sums) of the rest)."""


def _is_decimal(x: str) -> str:
    return (
        f"((abs({x}) < 4e18 AND {x} = trunc({x}))"
        f" OR (abs({x}) < 8e9 AND round({x} * 1e6) / 1e6 = {x}))"
    )


def _millionths(x: str) -> str:
    """Build the SQL of a decimal in millionths, which is 0 for any other number."""
    whole = f"toInt128(toInt64(if(abs({x}) < 4e18, {x}, 0.))) * {MILLION}"
    decimal = f"toInt128(toInt64(round(if(abs({x}) < 8e9, {x}, 0.) * 1e6)))"
    return f"multiIf(NOT {_is_decimal(x)}, toInt128(0), {x} = trunc({x}), {whole}, {decimal})"


def sum_parts(column: str) -> str:
    """Build the SQL that adds up a column.

    Args:
        column: SQL of a Nullable(Float64).

    Returns:
        SQL of a tuple, which the client reads as `Parts`.
    """
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
    """Build the SQL of a float to order groups by their sum. It is NULL if there are no numbers."""
    parts = sum_parts(column)
    others = (
        f"arraySum((place, bits) -> toFloat64(bits) * pow(2, place * {PLACE_BITS} +"
        f" ({UNIT_EXPONENT})), {parts}.3.1, {parts}.3.2)"
    )
    return f"if({parts}.1 = 0, NULL, toFloat64({parts}.2) / {MILLION} + {others})"


def row_sum(numbers: str) -> str:
    """Build the SQL of the sum of an array of floats, as one float. Its decimals add up exactly."""
    decimals = f"toFloat64(arraySum(x -> {_millionths('x')}, {numbers})) / {MILLION}"
    others = f"arraySum(x -> if({_is_decimal('x')}, 0., x), {numbers})"
    return f"greatest(least({decimals} + {others}, {FLOAT_MAX!r}), -{FLOAT_MAX!r})"


def total(parts: Parts) -> float | None:
    """Return the sum, or None if there are no numbers. It is never infinite."""
    return None if not parts[0] else _nearest(_exact(parts))


def average(parts: Parts) -> float | None:
    """Return the average, or None if there are no numbers."""
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
