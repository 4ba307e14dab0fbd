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

"""Messages for the user of a command, on the standard error."""

import contextlib
import sys


def write(text: str, end: str = '\n') -> None:
    """Write text to the standard error, and flush it.

    Errors are ignored: the work goes on if nothing can be written, and a
    signal handler may call this while the stream is in use.

    :param text: the text.
    :param end: what is written after it.
    """
    stream = sys.stderr
    if stream is None:
        # print() would use the standard output.
        return
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        print(text, end=end, file=stream, flush=True)
