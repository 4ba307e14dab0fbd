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

"""Texts of PowerVM for a report that operators attach to bug reports.

A report has no names of disks and hosts, and no addresses.
"""

from collections.abc import Collection
import re
import socket
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.drivers import refusals

_URL: Final = re.compile(r'\b[a-z][a-z0-9+.-]*://[^\s\'",;)>]+', re.IGNORECASE)
_IPV4: Final = re.compile(
    r'(?<![\w.])\d{1,3}(\.\d{1,3}){3}(:\d+)?(?![\w.]*\d)'
)
_IPV6: Final = re.compile(
    r'(?<![\w:.])\[?(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}'
    r'(%\w+)?(?![\w:])\]?'
)
#: A shorter host name may be a part of any text.
_LEAST_HOST: Final = 3


def shown(message: str, names: Collection[str] = ()) -> str:
    """Return a message of PowerVM without what identifies a host.

    :param message: as pypowervm words it.
    :param names: of disks, which are replaced.
    :returns: one line; '' if nothing is left.
    """
    found = refusals.message_of(message)
    for pattern, replacement in (
        (_URL, 'URL'),
        (_IPV4, 'ADDRESS'),
        (_IPV6, 'ADDRESS'),
    ):
        found = pattern.sub(replacement, found)
    host = socket.gethostname()
    hosts = {
        each
        for each in (host, host.partition('.')[0])
        if len(each) >= _LEAST_HOST and each != 'localhost'
    }
    for each in sorted(hosts, key=len, reverse=True):
        found = re.sub(
            rf'(?<![\w.-]){re.escape(each)}(?![\w-])', 'HOST', found
        )
    return platform_facts.one_line(refusals.without_names(found, names))


def reason_of(
    error: exceptions.PVMImageCacheError, names: Collection[str] = ()
) -> str:
    """Return why a fact is unknown.

    :param error: of the probe.
    :param names: of disks, which are replaced.
    :returns: a text without a final stop.
    """
    if isinstance(error, exceptions.FactNotMeasured):
        return error.reason
    if isinstance(error, exceptions.PowerVMTimedOut):
        return 'PowerVM did not answer within the time limit'
    if isinstance(error, exceptions.PowerVMUnreachable):
        return 'PowerVM did not answer'
    if isinstance(error, exceptions.PowerVMLogonFailed):
        return 'PowerVM refused the logon'
    if isinstance(error, exceptions.PowerVMRequestFailed):
        message = shown(str(getattr(error, 'reason', error)), names)
        busy = isinstance(error, exceptions.PowerVMBusy)
        verb = 'PowerVM is busy' if busy else 'PowerVM refused it'
        return f'{verb}: {message}'.rstrip('.: ')
    return shown(str(error), names).rstrip('.')
