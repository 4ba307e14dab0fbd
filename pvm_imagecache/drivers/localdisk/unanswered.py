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

"""Find out when no update of a volume group is in progress any more.

If the answer to an update is lost, PowerVM may still work on it, and a disk
that is visible may not be completely copied. PowerVM carries out the updates
of a volume group one after another: it queues a second one, or refuses it as
long as the first one runs. So an update that changes nothing shows, when it
succeeds, that the one before has ended.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import http
import time
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import vg_document

#: Seconds to wait for disks if such an update cannot be sent.
_BLIND_WAIT: Final = 60.0
#: How often PowerVM may refuse it for an unknown reason.
_MOST_REFUSALS: Final = 5
#: Status of an update that meets another one.
_MET: Final = (http.HTTPStatus.PRECONDITION_FAILED, http.HTTPStatus.CONFLICT)
#: The delay between two attempts doubles up to the second value.
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 15.0

#: See :meth:`pvm_imagecache.drivers.powervm.AdapterSource.translated`.
Translated = Callable[[str], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Settled:
    """A volume group after an update whose answer was lost.

    :ivar document: the volume group.
    :ivar is_final: whether the update has certainly ended.
    """

    document: vg_document.Document
    is_final: bool


def settled(
    read: Callable[[], vg_document.Document],
    translated: Translated,
    limit: float,
    may_update: bool,
) -> Settled:
    """Wait until no update is in progress, and return the volume group.

    :param read: reads the volume group.
    :param translated: translates errors of pypowervm.
    :param limit: seconds to wait.
    :param may_update: whether PowerVM refuses an update that is based on an
        outdated read. If not, a queued update could delete disks.
    :returns: the volume group.
    :raises PowerVMError: if PowerVM does not answer, or still works on the
        update at the end of the time.
    """
    if not may_update:
        limit = min(limit, _BLIND_WAIT)
    end = time.monotonic() + limit
    delay, refusals = _FIRST_DELAY, 0
    unreachable = iter(powervm.RETRY_DELAYS)
    while True:
        left = end - time.monotonic()
        is_read = False
        try:
            document = read()
            is_read = True
            if may_update and refusals < _MOST_REFUSALS:
                with translated('confirm the state of the volume group'):
                    wrapper = document.wrapper.update(
                        timeout=max(1, int(left))
                    )
                return Settled(vg_document.Document(wrapper), True)
            if left <= 0 or refusals >= _MOST_REFUSALS:
                return Settled(document, False)
        except exceptions.PowerVMTimedOut:
            # The time limit of the update was what is left.
            raise
        except exceptions.PowerVMUnreachable:
            # The service may be restarting.
            pause = next(unreachable, None)
            if pause is None:
                raise
            time.sleep(pause)
        except exceptions.PowerVMRequestFailed as error:
            if left <= 0 or (refusals >= _MOST_REFUSALS and not is_read):
                raise
            if not (error.transient or powervm.status_of(error) in _MET):
                refusals += 1
        time.sleep(min(delay, max(0.0, left)))
        delay = min(2 * delay, _LONGEST_DELAY)
