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

"""Repeat calls that failed with a transient error, after growing delays."""

from collections.abc import Callable
from collections.abc import Sequence
import random
import time
from typing import Final
from typing import TypeVar

from oslo_log import log as logging

from pvm_imagecache import exceptions

LOG = logging.getLogger(__name__)

#: Seconds; the delay between attempts to change something that other
#: processes change too grows up to this.
_LONGEST_BACKOFF: Final = 1.0
#: Seconds; a server that asks for a longer delay is not obeyed: an instance
#: is waiting.
LONGEST_RETRY_AFTER: Final = 30.0

_Result = TypeVar('_Result')


def is_transient(error: exceptions.PVMImageCacheError) -> bool:
    """Check if the same call may succeed a little later.

    :param error: the error that the call raised.
    :returns: True for a transient error.
    """
    return error.transient


def delay_after(error: exceptions.PVMImageCacheError, delay: float) -> float:
    """Return how long to wait after an error before the next attempt.

    :param error: the error; its ``retry_after`` is respected up to
        :data:`LONGEST_RETRY_AFTER`.
    :param delay: seconds to wait at least.
    :returns: seconds.
    """
    wanted = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
    return max(delay, wanted)


def retry(
    call: Callable[[], _Result],
    delays: Sequence[float],
    should_retry: Callable[
        [exceptions.PVMImageCacheError], bool
    ] = is_transient,
) -> _Result:
    """Return the result of a call, repeated after transient errors.

    :param call: is made at most once more than there are delays.
    :param delays: seconds to wait before each repetition; longer if the
        error asks for it, see :func:`delay_after`.
    :param should_retry: returns True if the call is to be repeated after
        this error; by default after transient errors.
    :returns: what the call returns.
    :raises PVMImageCacheError: the error of the last attempt, or the first
        one that does not justify a repetition.
    """
    for delay in delays:
        try:
            return call()
        except exceptions.PVMImageCacheError as error:
            if not should_retry(error):
                raise
            wait = delay_after(error, delay)
            LOG.warning(
                'Retrying in %(delay).1f s: %(error)s',
                {'delay': wait, 'error': error},
            )
            time.sleep(wait)
    return call()


def back_off(attempt: int) -> None:
    """Wait a random time, longer with each attempt, up to one second.

    Otherwise processes that change the same thing would collide again.

    :param attempt: number of the attempt that failed, from 0.
    """
    longest = min(0.01 * 2**attempt, _LONGEST_BACKOFF)
    # The value protects no secret.
    time.sleep(random.uniform(0, longest))  # noqa: S311
