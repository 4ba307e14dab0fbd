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

"""The plain cause of network errors, which libraries wrap in each other."""

import re
from typing import Final

from pvm_imagecache import text

#: Texts of the operating system, OpenSSL, urllib3 and requests that identify
#: a cause. Upper and lower case do not matter. A message can contain several
#: of them; the first one in this order is the cause: urllib3, for example,
#: wraps "Connection reset by peer" in "Connection aborted".
_SIGNS: Final = (
    'Connection refused',
    'Name or service not known',
    'Temporary failure in name resolution',
    'No route to host',
    'Network is unreachable',
    'certificate verify failed',
    'wrong version number',
    'No scheme supplied',
    'Failed to parse',
    'Invalid URL',
    'timed out',
    'Connection reset by peer',
    'Connection aborted',
    'IncompleteRead',
    'InvalidChunkLength',
    'Response ended prematurely',
    'Broken pipe',
    # eventlet has the names of error numbers in place of their texts.
    'ECONNREFUSED',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ETIMEDOUT',
    'ECONNRESET',
    'No address associated with hostname',
    'No connection adapters were found',
)
_CLOSED: Final = 'closed before the end of the data'
#: Causes whose own text is one of Python, or has another wording.
_WORDS: Final = {
    'IncompleteRead': _CLOSED,
    'InvalidChunkLength': _CLOSED,
    'Response ended prematurely': _CLOSED,
    'ECONNREFUSED': 'connection refused',
    'EHOSTUNREACH': 'no route to host',
    'ENETUNREACH': 'network is unreachable',
    'ETIMEDOUT': 'timed out',
    'ECONNRESET': 'connection reset by peer',
    'No address associated with hostname': 'name or service not known',
    'No connection adapters were found': 'neither http nor https',
}
#: The causes that persist: a service does not run, or an option is wrong.
#: As :func:`plain_cause` returns them.
_PERMANENT: Final = frozenset(
    {
        'connection refused',
        'name or service not known',
        'no route to host',
        'certificate verify failed',
        'wrong version number',
        'no scheme supplied',
        'failed to parse',
        'invalid URL',
        'neither http nor https',
    }
)
#: Those of them that end if a service, or its host, is only restarting.
_AT_RESTART: Final = frozenset({'connection refused', 'no route to host'})
_ADDRESS: Final = re.compile(r'https?://[^\s\'"<>()]+')


def plain_cause(error: BaseException) -> str:
    """Return the cause of a network error, such as ``connection refused``.

    :param error: an error of requests, urllib3 or the operating system.
    :returns: the known cause that its message contains, beginning with a
        lower-case letter; the message on one line if there is none.
    """
    return known_cause(error) or text.one_line(error)


def known_cause(error: BaseException) -> str | None:
    """Return the cause of a network error if it is a known one.

    :param error: an error of requests, urllib3 or the operating system.
    :returns: as :func:`plain_cause`, but None if the cause is not known: the
        message of a library may contain text of Python or HTML.
    """
    message = f'{text.one_line(error)} {type(error).__name__}'
    for sign in _SIGNS:
        if sign.lower() in message.lower():
            return _WORDS.get(sign, sign[0].lower() + sign[1:])
    return None


def is_permanent(cause: str) -> bool:
    """Check if a cause persists, so that retrying soon is pointless.

    :param cause: as :func:`plain_cause` returned it.
    :returns: True for a permanent cause, False for a transient or unknown
        one.
    """
    return cause in _PERMANENT


def is_at_restart(cause: str) -> bool:
    """Check if a cause also occurs while a service is being restarted.

    :param cause: as :func:`plain_cause` returned it.
    :returns: True if retrying for some seconds can help although
        :func:`is_permanent` returns True.
    """
    return cause in _AT_RESTART


def address(error: BaseException) -> str | None:
    """Return the address that the message of an error names.

    :param error: an error of keystoneauth1, requests or urllib3.
    :returns: the first URL in its message, without user, password and
        query; None if there is none.
    """
    found = _ADDRESS.search(str(error))
    if found is None:
        return None
    scheme, _, rest = found.group().rstrip(':,.;').partition('://')
    host, slash, path = re.split('[?#]', rest)[0].partition('/')
    return f'{scheme}://{host.rpartition("@")[2]}{slash}{path}'
