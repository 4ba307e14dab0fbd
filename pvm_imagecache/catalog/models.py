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


"""The records of the catalog: immutable values.

Times are kept twice: in Unix seconds, to show them, and in seconds of the
catalog's clock (:mod:`pvm_imagecache.catalog.clock`), to compute ages.
"""

import dataclasses
import enum
import os
import socket
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import image as image_module

if TYPE_CHECKING:
    # Slow to import, and ``list`` does not need it.
    from pvm_imagecache import platform_facts

#: Characters of the note of a pin.
LONGEST_NOTE: Final = 1_000


class State(enum.Enum):
    """State of a base image."""

    POPULATING = 'populating'
    """Its disk is being filled, or was when the process crashed."""

    READY = 'ready'
    """Size and hash were verified: deploys are served from it."""

    EVICTING = 'evicting'
    """Its disk is being deleted, or was when the process crashed."""

    QUARANTINED = 'quarantined'
    """Its disk may have been changed: it is not served, and is evicted."""


@dataclasses.dataclass(frozen=True)
class BaseImage:
    """The record of a base image.

    :ivar pool: ID of the pool that holds the disk.
    :ivar disk_name: name of the disk.
    :ivar image: the image that the disk holds.
    :ivar state: see :class:`State`.
    :ivar fill_id: opaque token of one fill attempt. An update applies only
        while it matches.
    :ivar holder: the process that fills or filled it, as ``host/pid``.
    :ivar udid: of the disk; None until PowerVM has reported it.
    :ivar capacity: of the disk, in bytes; None as long as ``udid`` is.
    :ivar bytes_done: how many bytes of the image were written.
    :ivar created_at: when the fill started, in Unix seconds.
    :ivar ready_at: when it became ready, in Unix seconds, or None.
    :ivar last_used_at: when it was used last, in Unix seconds, or None.
    :ivar hits: how many deploys it served.
    :ivar reason: why it was quarantined, or None.
    :ivar started_clock: when the fill started, by the catalog's clock.
    :ivar ready_clock: when it became ready, by the catalog's clock, or None.
    :ivar used_clock: when it was used last, by the catalog's clock, or None.
    :ivar verified_signature: fingerprint of the signature that the data was
        verified with; None if no signature was verified.
    """

    pool: str
    disk_name: str
    image: image_module.Image
    state: State
    fill_id: str
    holder: str
    udid: str | None
    capacity: int | None
    bytes_done: int
    created_at: float
    ready_at: float | None
    last_used_at: float | None
    hits: int
    reason: str | None
    started_clock: float
    ready_clock: float | None
    used_clock: float | None
    verified_signature: str | None = None


@dataclasses.dataclass(frozen=True)
class Pin:
    """An operator's protection of an image from eviction.

    :ivar image_id: the image, which need not be cached.
    :ivar note: the operator's reason; '' if none was given.
    :ivar who: the user who pinned it.
    :ivar pinned_at: in Unix seconds.
    :ivar seconds_left: until it ends; None if it does not end.
    """

    image_id: str
    note: str
    who: str
    pinned_at: float
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class InstanceDisk:
    """An instance disk that is being created, or was at a crash.

    :ivar pool: ID of the pool that holds the disk.
    :ivar disk_name: name of the disk.
    :ivar size: requested size in bytes.
    :ivar fill_id: opaque token of one fill attempt. An update applies only
        while it matches.
    :ivar holder: the process that creates it, as ``host/pid``.
    :ivar udid: of the disk; None until PowerVM has reported it.
    :ivar started_at: in Unix seconds.
    :ivar started_clock: by the catalog's clock.
    """

    pool: str
    disk_name: str
    size: int
    fill_id: str
    holder: str
    udid: str | None
    started_at: float
    started_clock: float


@dataclasses.dataclass(frozen=True)
class FailedDownload:
    """The last download of an image that failed because of its data.

    :ivar token: opaque; another one for each failure.
    :ivar data_id: identifies the data that was expected.
    :ivar error: why it failed.
    :ivar signature: fingerprint of the signature that the data does not
        have; None if the data itself is wrong.
    """

    token: str
    data_id: str
    error: str
    signature: str | None


@dataclasses.dataclass(frozen=True)
class Total:
    """Sum of all events of one action.

    :ivar times: number of events.
    :ivar bytes_fetched: bytes downloaded from Glance.
    :ivar bytes_saved: bytes that did not have to be downloaded.
    :ivar seconds: time that the operations took; not compared.
    """

    times: int
    bytes_fetched: int
    bytes_saved: int
    seconds: float = dataclasses.field(default=0.0, compare=False)


@dataclasses.dataclass(frozen=True)
class LastRun:
    """The last cleanup run of a pool.

    :ivar at: when it was, in Unix seconds.
    :ivar error: what failed in it; '' if nothing did.
    """

    at: float
    error: str


@dataclasses.dataclass(frozen=True)
class HistoryEvent:
    """An event of the history.

    :ivar at: when it was, in Unix seconds.
    :ivar action: what was done.
    :ivar image_id: the image it was done to, or None.
    :ivar image_name: the name that the image had then, or None.
    :ivar disk_name: the disk it was done to, or None.
    :ivar bytes_fetched: bytes downloaded from Glance, or None.
    :ivar bytes_saved: bytes that did not have to be downloaded, or None.
    :ivar seconds: how long it took, or None.
    :ivar who: the user for whom it was done.
    :ivar detail: the reason in words, or None.
    :ivar code: the reason why a policy chose the image, as a code of that
        policy, or None.
    """

    at: float
    action: str
    image_id: str | None
    image_name: str | None
    disk_name: str | None
    bytes_fetched: int | None
    bytes_saved: int | None
    seconds: float | None
    who: str
    detail: str | None
    code: str | None


@dataclasses.dataclass(frozen=True)
class PlatformFact:
    """One fact about the platform of a pool, as it was measured.

    :ivar value: the value; None: the measurement failed.
    :ivar reason: why the value is unknown; '' if it is known.
    :ivar measured_at: when it was measured, in Unix seconds.
    :ivar measured_clock: the same, by the clock of the catalog.
    :ivar platform: identifies the levels of the platform at that time.
    """

    value: 'platform_facts.Value | None'
    reason: str
    measured_at: float
    measured_clock: float
    platform: str


@dataclasses.dataclass(frozen=True)
class OtherCatalog:
    """Another catalog that has disks in the same pool.

    :ivar catalog: the beginning of its ID.
    :ivar base_images: number of disks with names of base images.
    :ivar other_disks: number of other disks.
    """

    catalog: str
    base_images: int
    other_disks: int = 0


#: Digit of a fill ID that records whether the whole disk is wiped. It has
#: the other value also in the UUIDs that earlier releases used.
_WIPE_DIGIT: Final = 12
_WIPED: Final = '8'
_NOT_WIPED: Final = '4'
_RANDOM_BYTES: Final = 16
#: Digits of the ID of a catalog in fill IDs, labels and messages.
CATALOG_DIGITS: Final = 8


def new_fill_id(wiped: bool = False, catalog_id: str = '') -> str:
    """Return a token for an attempt to fill a disk.

    :param wiped: whether the attempt writes zeros after the image.
    :param catalog_id: of the catalog that has the record of the disk; '' for
        a disk whose label does not name it.
    :returns: 32 hexadecimal digits; after "-", the first ones of the ID of
        the catalog.
    """
    random = os.urandom(_RANDOM_BYTES).hex()
    digit = _WIPED if wiped else _NOT_WIPED
    return with_catalog(
        f'{random[:_WIPE_DIGIT]}{digit}{random[_WIPE_DIGIT + 1 :]}', catalog_id
    )


def with_catalog(token: str, catalog_id: str) -> str:
    """Return a fill ID that names a catalog.

    :param token: a fill ID without catalog.
    :param catalog_id: ID of the catalog, or its beginning; '' for none.
    :returns: the fill ID.
    """
    if not catalog_id:
        return token
    return f'{token}-{catalog_id[:CATALOG_DIGITS]}'


def catalog_of(fill_id: str) -> str:
    """Return the catalog that a fill ID names.

    :param fill_id: the token.
    :returns: the beginning of the ID of the catalog; '' if it names none: of
        attempts of earlier releases, and of some adopted disks.
    """
    return fill_id.partition('-')[2]


def is_wiped(fill_id: str) -> bool:
    """Return whether the attempt of a token writes zeros after the image.

    :param fill_id: the token.
    :returns: False for attempts of earlier releases, and adopted disks.
    """
    return fill_id[_WIPE_DIGIT : _WIPE_DIGIT + 1] == _WIPED


def holder_name() -> str:
    """Return the name of this process for records.

    :returns: ``host/pid``.
    """
    return f'{socket.gethostname()}/{os.getpid()}'
