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

"""The file of --log-file, and how log records are shown.

Messages contain text of the caller, of tenants and of servers. In a log file
each record begins a line, and no such text can begin another one: line breaks
in messages are escaped, and tracebacks are indented.
"""

import errno
import logging
import os
import stat
from types import TracebackType
from typing import Final
from typing import TypeAlias

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import caller as caller_module

_FORMAT: Final = '[%(asctime)s] %(levelname)-8s %(name)s %(message)s'
_INDENT: Final = '    '
_ExceptionInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)


class ConsoleFormatter(logging.Formatter):
    """Escapes non-printable characters in log messages, line by line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text.

        :param record: the record.
        :returns: the text, on one or more lines.
        """
        return _escaped_lines(super().format(record))


class FileFormatter(logging.Formatter):
    """Writes each record as one line, and its traceback indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record.

        :param record: the record.
        :returns: the line; line breaks in it are escaped.
        """
        return text.printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text.

        :param record: the record.
        :returns: its line, and the indented lines of its traceback.
        """
        # Another handler can have formatted the traceback already.
        cached, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = cached

    def formatException(self, ei: _ExceptionInfo) -> str:
        """Return a traceback.

        :param ei: type, exception and traceback.
        :returns: the indented lines.
        """
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """Return a stack.

        :param stack_info: its lines.
        :returns: the indented lines.
        """
        return _indented(stack_info)


def handler(path: str, caller: caller_module.Caller | None) -> logging.Handler:
    """Return a handler that appends to a file.

    :param path: path of the file, which is created if it is missing.
    :param caller: the user on whose behalf this process runs. The file is
        opened with the rights of that user.
    :returns: the handler.
    :raises LogFileRefused: if the file cannot be opened, is a symbolic link
        or has more than one name; on behalf of another user also if it is
        not a regular file.
    """
    try:
        descriptor = _open(os.path.abspath(path), caller)
    except OSError as error:
        reason = error.strerror or text.one_line(error)
        if error.errno == errno.ELOOP:
            reason = 'it is a symbolic link'
        raise exceptions.LogFileRefused(path=path, reason=reason) from error
    # The handler keeps the file open until the process ends.
    file = os.fdopen(
        descriptor, 'a', encoding='utf-8', errors='backslashreplace'
    )
    made = logging.StreamHandler(file)
    made.setFormatter(FileFormatter(_FORMAT))
    return made


def _open(path: str, caller: caller_module.Caller | None) -> int:
    # A FIFO must not block.
    flags = (
        os.O_WRONLY
        | os.O_APPEND
        | os.O_CREAT
        | os.O_NOFOLLOW
        | os.O_NONBLOCK
        | os.O_NOCTTY
    )
    if caller is None:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    else:
        descriptor = caller.open(path, flags)
    found = os.fstat(descriptor)
    problem = ''
    if stat.S_ISREG(found.st_mode):
        if found.st_nlink > 1:
            problem = 'it has more than one name (hard links)'
    elif caller is not None or not stat.S_ISCHR(found.st_mode):
        problem = 'it is not a regular file'
    if problem:
        os.close(descriptor)
        raise OSError(errno.EINVAL, problem)
    return descriptor


def _escaped_lines(lines: str) -> str:
    return '\n'.join(
        text.printable(each) for each in lines.expandtabs().split('\n')
    )


def _indented(lines: str) -> str:
    return '\n'.join(
        _INDENT + each for each in _escaped_lines(lines).split('\n')
    )
