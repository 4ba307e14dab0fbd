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

"""Log-on and log-off: passwords, token files, tokens.

Tokens live in memory only: after a restart clients have to log on again, as
with the real server.
"""

from __future__ import annotations

import collections.abc
import contextlib
import hmac
import os
import secrets
import shutil
import threading
import uuid
from xml.sax import saxutils

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema


class Sessions:
    """Tokens that are logged on; token files are in a directory of its own."""

    def __init__(
        self,
        directory: str,
        user: str,
        password: str,
        level: collections.abc.Callable[[], str],
    ) -> None:
        """:param level: the schemaVersion of the platform."""
        self._level = level
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory, 0o700)
        self._directory = directory
        self._user = user
        self._password = password
        self._lock = threading.Lock()
        # Token -> path of its file, if it has one.
        self._tokens: dict[str, str | None] = {}

    def log_on(self, body: bytes) -> bytes:
        """Answer a LogonRequest with a LogonResponse."""
        request = resource.parse(body, 'LogonRequest')
        token = secrets.token_urlsafe(96)
        password = resource.text(request, 'Password')
        if password is not None:
            self._check(resource.text(request, 'UserID') or '', password)
            return self._remember(token, None, 'X-API-Session', token)
        if resource.text(request, 'GenerateX-API-SessionFile') != 'true':
            raise errors.bad_request(
                'A Password, or GenerateX-API-SessionFile, is needed.'
            )
        path = os.path.join(self._directory, uuid.uuid4().hex)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, 'w') as file:
            file.write(token + '\n')
        return self._remember(token, path, 'X-API-SessionFile', path)

    def _check(self, user: str, password: str) -> None:
        good = hmac.compare_digest(user.encode(), self._user.encode())
        good &= hmac.compare_digest(password.encode(), self._password.encode())
        if not good:
            raise errors.RestError(
                401,
                'Log-on failed: unknown user or wrong password.',
                'Unauthorized',
            )

    def _remember(
        self, token: str, path: str | None, tag: str, text: str
    ) -> bytes:
        with self._lock:
            self._tokens[token] = path
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            f'<LogonResponse xmlns="{schema.WEB_NS}" '
            f'schemaVersion={saxutils.quoteattr(self._level())}><Metadata><Atom/></Metadata>'
            f'<{tag} kb="ROR" kxe="false">{saxutils.escape(text)}</{tag}>'
            '</LogonResponse>'
        ).encode()

    def check(self, token: str | None) -> None:
        """:raises RestError: 401 when the token is not logged on."""
        with self._lock:
            if token is None or token not in self._tokens:
                raise errors.unauthorized()

    def forget(self, token: str | None) -> None:
        with self._lock:
            path = self._tokens.pop(token or '', None)
        if path is not None:
            _remove(path)

    def forget_all(self) -> int:
        """Every session expires; how many there were."""
        with self._lock:
            gone = list(self._tokens.values())
            self._tokens.clear()
        for path in gone:
            if path is not None:
                _remove(path)
        return len(gone)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
