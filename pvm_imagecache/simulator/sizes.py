#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Sizes as PowerVM writes them: GB of 1024**3 bytes, with fractions."""

from __future__ import annotations

import decimal

from pvm_imagecache.simulator import errors

GIB = 1 << 30
MIB = 1 << 20
# The partition size of a volume group unless it is set: what disks are rounded
# to.
GRANULE = MIB
_FOUR_PLACES = decimal.Decimal('0.0001')


def from_gb(text: str, granule: int = GRANULE) -> int:
    """Bytes of a size given in GB, rounded up to whole granules of bytes."""
    granules = (_parse(text) * GIB / granule).to_integral_value(
        decimal.ROUND_CEILING
    )
    return int(granules) * granule


def is_fraction(text: str) -> bool:
    """Whether a size given in GB is not a whole number."""
    value = _parse(text)
    return value != value.to_integral_value()


def _parse(text: str) -> decimal.Decimal:
    try:
        value = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise errors.bad_request(f'{text!r} is not a size in GB') from None
    if not value.is_finite() or value <= 0 or value > 1 << 40:
        raise errors.bad_request(f'{text!r} is not a valid size in GB')
    return value


def exact_gb(size: int) -> str:
    return _plain(decimal.Decimal(size) / GIB)


def rounded_gb(size: int) -> str:
    """At most four decimals and never more than there is."""
    return _plain(
        (decimal.Decimal(size) / GIB).quantize(
            _FOUR_PLACES, decimal.ROUND_FLOOR
        )
    )


def _plain(value: decimal.Decimal) -> str:
    text = f'{value:f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text


def round_up(size: int, granule: int = GRANULE) -> int:
    """Bytes rounded up to whole granules of bytes."""
    return -(-size // granule) * granule
