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

"""The one exception by which a request is refused.

It carries what an HttpErrorResponse entry says. Texts follow what the real
server and the AIX commands behind it say, since clients look for their codes.
"""

from __future__ import annotations

UNKNOWN = 'Unknown internal error.'


class RestError(Exception):
    """A request is refused with this HTTP status."""

    def __init__(
        self, status: int, message: str, reason_code: str = UNKNOWN
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason_code = reason_code


def bad_request(message: str) -> RestError:
    return RestError(400, message, 'Bad Request')


def unauthorized() -> RestError:
    return RestError(
        401,
        'The session is not logged on, or its token has expired.',
        'Unauthorized',
    )


def not_found(message: str) -> RestError:
    return RestError(404, message, 'Not Found')


def stale_etag() -> RestError:
    return RestError(
        412,
        'The entity tag of the request does not match the '
        'current one: the resource has been changed.',
        'ETag mismatch',
    )


def vios_busy(vios: str) -> RestError:
    """What pypowervm's vios_busy helper recognises (HSCL3205)."""
    return RestError(
        500,
        f'HSCL3205 The Virtual I/O Server {vios} is busy '
        'processing some other request. Please retry the '
        'operation after sometime.',
    )


def name_in_use(name: str) -> RestError:
    """What AIX says of a name in another volume group of the VIOS."""
    return RestError(
        500,
        f'0516-360 getlvname: The device name {name} is already used; choose '
        'a different name. 0516-822 mklv: Unable to create logical volume.',
    )


def no_space(group: str, wanted: int, free: int) -> RestError:
    """Sizes in bytes. 0516-404 is what AIX's allocp says."""
    return RestError(
        500,
        f'The volume group {group} does not have enough '
        f'free space: {wanted} bytes wanted, {free} bytes free. '
        '0516-404 allocp: This system cannot fulfill the '
        'allocation request. There are not enough free '
        'partitions or not enough physical volumes to keep '
        'strictness and satisfy allocation requests.',
    )
