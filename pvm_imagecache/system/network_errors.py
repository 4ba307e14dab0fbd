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

"""What is behind the errors that requests and urllib3 wrap into each other."""

from typing import Final

#: What they say, in the order in which it is looked for.
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
)
#: What is not gone a moment later: something is not there, or not right.
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
    }
)


def plain_cause(error: BaseException) -> str:
    """The plain cause in the text of an error, or all of the text."""
    text = ' '.join(str(error).split()) or type(error).__name__
    for sign in _SIGNS:
        if sign.lower() in text.lower():
            return sign[0].lower() + sign[1:]
    return text.rstrip('.')


def is_permanent(cause: str) -> bool:
    """Whether there is no point in trying again in a moment."""
    return cause in _PERMANENT
