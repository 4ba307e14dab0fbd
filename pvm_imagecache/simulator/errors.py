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

from pvm_imagecache.simulator import wordings

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


def name_in_use(name: str, group: str, wording: str) -> RestError:
    """The name of a new disk belongs to a disk of the group already."""
    words = wordings.text(wordings.NAME, wording, name=name, group=group)
    return bad_request(words) if wording == 'rest' else RestError(500, words)


def no_space(
    group: str, wanted: int, free: int, wording: str = 'allocp'
) -> RestError:
    """Sizes in bytes."""
    return RestError(
        500,
        wordings.text(
            wordings.SPACE, wording, group=group, wanted=wanted, free=free
        ),
    )


def no_logical_volume(group: str, limit: int) -> RestError:
    """The volume group has as many logical volumes as it can have."""
    return RestError(
        500,
        f'0516-1163 mklv: {group} already has the maximum number of logical '
        f'volumes, {limit}. 0516-822 mklv: Unable to create logical volume.',
    )


def too_many_uploads(limit: int) -> RestError:
    return RestError(
        503, f'The maximum number of concurrent uploads, {limit}, is reached.'
    )
