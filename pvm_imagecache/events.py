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

"""Events of the cache, and the contract of listeners that receive them.

A listener is a plugin: see :class:`EventListener`. The built-in ones are in
:mod:`pvm_imagecache.listeners`.
"""

import abc
from collections.abc import Callable
import dataclasses
import enum
import re
import time
from typing import ClassVar
from typing import Final
from typing import TYPE_CHECKING
from typing import TypeAlias

if TYPE_CHECKING:
    from pvm_imagecache import results
    from pvm_imagecache.conf import types

#: Version of the contract of listeners that this release supports.
API_VERSION: Final = 1


class Kind(enum.Enum):
    """What happened. Later releases can add kinds."""

    CACHED = 'cached'
    """The image was fetched, and is served from the cache from now on. Codes:
    ``miss`` and ``prefetch``."""

    EVICTED = 'evicted'
    """Its base image was removed. Codes: that of the policy, ``last-resort``
    and ``max-gib`` of the core, and ``purge`` for an operator."""

    BYPASSED = 'bypassed'
    """A disk was created from the image without the cache. Code: ``bypass``.
    """

    DEPLOYED = 'deployed'
    """A disk was created from the image. Codes: ``hit``, ``miss``, ``bypass``
    and ``shared-pool``."""

    FAILED = 'failed'
    """A disk or a base image could not be created. Code: the class of the
    error, such as ``image-forbidden`` for ``ImageForbidden``."""

    DISCARDED = 'discarded'
    """A cleanup run removed the record of a base image. Codes:
    ``incomplete`` and ``disk-missing``."""

    QUARANTINED = 'quarantined'
    """The disk of a base image may have been changed: it is not served any
    more. Code: ``quarantined``."""

    CLEANUP = 'cleanup'
    """A cleanup run ended. Codes: ``cleanup``, and ``cleanup-failed`` if it
    had errors. The event is about no image."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in the cache of a pool.

    :ivar kind: what happened.
    :ivar pool: ID of the pool; '' if it is not known.
    :ivar image_id: ID of the Glance image; '' if the event is about none.
    :ivar disk_name: name of the base image, or of the instance disk.
    :ivar size: bytes of the image.
    :ivar reason: human-readable: why the image was evicted, the cache
        bypassed, or what failed; '' if there is nothing to say.
    :ivar code: machine-readable, see :class:`Kind`.
    :ivar at: when it happened, in Unix seconds.
    :ivar image_name: name of the image in Glance, if known.
    :ivar project_id: ID of the project of the request to nova. If there was
        none: of the project that owns the image, if known.
    :ivar requester: the user: of the request to nova, or of this process.
    :ivar seconds: how long it took; None if that was not measured.
    :ivar bytes_fetched: bytes that were downloaded from Glance for it; None
        if that does not apply.
    """

    kind: Kind
    pool: str
    image_id: str
    disk_name: str
    size: int
    reason: str = ''
    code: str = ''
    at: float = dataclasses.field(default_factory=time.time, compare=False)
    image_name: str | None = None
    project_id: str | None = None
    requester: str = ''
    seconds: float | None = None
    bytes_fetched: int | None = None


def code_of(error: BaseException) -> str:
    """Return the code of a failure: the class of the error in lower case.

    :param error: the error.
    :returns: ``image-forbidden`` for ``ImageForbidden``.
    """
    words = re.findall(
        r'[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+', type(error).__name__
    )
    return '-'.join(words).lower()


#: Receives each event, in the thread that caused it and sometimes while a
#: lock is held, so it must return quickly. Its exceptions are logged and
#: ignored.
Listener: TypeAlias = Callable[[Event], None]


class EventListener(abc.ABC):
    """Receives events of the cache, in nova-compute and in the shell.

    A listener is made when nova-compute or a command starts that uses the
    cache. One of another package is called in a thread of its own, one event
    after another: whether it raises, hangs or exits, it delays no deploy and
    no cleanup run. Up to 1,000 events are queued; more are dropped. See
    :mod:`pvm_imagecache.listeners.dispatch`.
    """

    #: Version of the contract that the listener follows: :data:`API_VERSION`
    #: of the release that it was written for.
    api_version: ClassVar[int] = 0

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: 'types.Conf') -> 'EventListener':
        """Make the listener from the configuration.

        Options of the listener are registered here, with
        :func:`pvm_imagecache.conf.registration.register`. Nothing is sent:
        the receiver may be unreachable at this time.

        :param conf: the configuration of the process.
        :returns: the listener.
        :raises ConfigurationError: if an option has an invalid value.
        """

    @abc.abstractmethod
    def notify(self, event: Event) -> None:
        """Receive an event.

        Ignore kinds and codes that you do not know.

        :param event: what happened.
        :raises Exception: any error; it is logged once as long as it stays
            the same.
        """

    def use(self, usage: 'Callable[[], results.Usage]') -> None:
        """Take a function that returns figures of the cache.

        Override if they are needed. Called once, before the first event.

        :param usage: returns them; it asks PowerVM, and raises errors of the
            family ``PVMImageCacheError``.
        """
        return

    def close(self) -> None:
        """Send what is left, and release connections.

        Called once, when nova-compute or the command ends; it has a few
        seconds.
        """
        return
