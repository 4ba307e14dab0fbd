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
"""The session of pypowervm, for a REST API that is not trusted.

pypowervm follows redirections with the token, opens any file that the server
names, and reads answers without a bound. This session sends its requests.
"""

import contextlib
import errno
import http
import http.client
import os
import re
import sys
from typing import Any
from typing import Final

from oslo_log import log as logging
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm import entities
from pypowervm import exceptions as pvm_exceptions
import requests
from requests import exceptions as requests_exceptions
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.drivers import answers
from pvm_imagecache.drivers import rest_liveness
from pvm_imagecache.drivers import rest_transport
from pvm_imagecache.drivers import token_file
from pvm_imagecache.system import socket_owner

LOG = logging.getLogger(__name__)

#: A small resource that every platform has.
_SIGN_OF_LIFE: Final = f'{pvm_const.API_BASE_PATH}uom/ManagedSystem'
#: Executes a file, if it is set.
_CONFIG_VARIABLE: Final = 'PYPOWERVM_SESSION_CONFIG'
#: Seconds that a logoff may take.
_LOGOFF_TIMEOUT: Final = 30
_FILE_TAG: Final = f'{{{pvm_const.WEB_NS}}}X-API-SessionFile'
_FEED_TAG: Final = f'{{{pvm_const.ATOM_NS}}}feed'
_TOKEN_TAG: Final = f'{{{pvm_const.WEB_NS}}}X-API-Session'
#: What requests and the libraries below it raise.
_BROKEN: Final = (
    OSError,
    urllib3_exceptions.HTTPError,
    http.client.HTTPException,
)
#: Status of an answer to a read that has no document.
_NO_DOCUMENT: Final = (
    http.HTTPStatus.NO_CONTENT,
    http.HTTPStatus.NOT_MODIFIED,
)
#: In the paths of jobs.
_JOBS: Final = 'jobs'
#: The page of a proxy, or of another service.
_HTML: Final = re.compile(rb'\s*(<!doctype html|<html)\b', re.I)
#: Characters of the server that a message shows.
_SHOWN: Final = 200


class Answer(pvm_adapter.Response):
    """An answer whose content is parsed once, and within bounds.

    The base class logs an answer that it cannot parse, with the request.
    """

    def _extract_atom(self) -> None:
        try:
            self._unmarshal(answers.parsed(self.body, atom=True))
        except answers.BadAnswer as error:
            error.of_change = _changes(self.reqmethod, self.reqpath)
            raise
        except Exception as error:
            # pypowervm does not check that answers have what it looks for.
            bad = answers.BadAnswer('is not what pypowervm expects')
            bad.of_change = _changes(self.reqmethod, self.reqpath)
            raise bad from error

    def _unmarshal(self, root: Any) -> None:
        is_change = _changes(self.reqmethod, self.reqpath)
        if root.tag == _FEED_TAG:
            if is_change:
                raise answers.BadAnswer('is a feed')
            self.feed = entities.Feed.unmarshal_atom_feed(root, self)
            return
        self.entry = entities.Entry.unmarshal_atom_entry(root, self)
        if self.entry.element is None:
            raise answers.BadAnswer('is an entry without content')
        wanted = _type_of(self.reqpath)
        if is_change and wanted and self.entry.element.tag != wanted:
            raise answers.BadAnswer(f'is not an entry of a {wanted}')
        if is_change and wanted and not self.entry.uuid:
            raise answers.BadAnswer('is an entry without ID')


class Session(pvm_adapter.Session):
    """A session that is open; see the description of the module.

    :param owners: user IDs that are trusted with a logon without password.
    :param token_directory: see :func:`pvm_imagecache.drivers.token_file.read`.
    :param verify_tls: whether certificates are verified.
    :param kwargs: parameters of the base class.
    """

    #: Of the base class.
    _relogin_unsafe: bool

    def __init__(
        self,
        *,
        owners: set[int],
        token_directory: str,
        verify_tls: bool,
        **kwargs: Any,
    ) -> None:
        self._owners = owners
        self._token_directory = token_directory
        self._verify_tls = verify_tls
        os.environ.pop(_CONFIG_VARIABLE, None)
        super().__init__(**kwargs)

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: Any = '',
        sensitive: bool = False,
        verify: bool = False,
        timeout: float = -1,
        auditmemento: str | None = None,
        relogin: bool = True,
        login: bool = False,
        filehandle: Any = None,
        chunksize: int = 65536,
    ) -> Any:
        """Send a request, as the base class does.

        :param method: of the request.
        :param path: on the server of the session.
        :param headers: of the request.
        :param body: of the request.
        :param sensitive: is not used: nothing of a request is logged.
        :param verify: is not used: the session knows.
        :param timeout: seconds until the answer is complete, counted from
            the last piece of an upload; -1 for that of the session.
        :param auditmemento: a name for the log of the server.
        :param relogin: whether to log on again if the token has expired.
        :param login: whether this is the logon.
        :param filehandle: pieces of an upload, or an open file.
        :param chunksize: bytes to read from a file at a time.
        :returns: a ``pypowervm.adapter.Response``.
        :raises pypowervm.exceptions.Error: if the request fails.
        :raises PowerVMNotLocal: if another user's process has the port.
        """
        headers = headers if headers is not None else {}
        headers['X-Audit-Memento'] = auditmemento or self.auditmemento
        token = None if login else self._sessToken
        upload = filehandle and self._chunkreader(filehandle, chunksize)
        answer = self._exchange(
            method,
            path,
            {**headers, **({'X-API-Session': token} if token else {})},
            upload or body,
            bool(filehandle),
            self.timeout if timeout == -1 else timeout,
        )
        status, reason, answer_headers, content = answer
        response = Answer(
            method,
            path,
            status,
            reason,
            answer_headers,
            reqheaders=headers,
            reqbody=body,
            body=content,
        )
        if 200 <= status < 300 or status == http.HTTPStatus.NOT_MODIFIED:
            _check_presence(response)
            return response
        error = self._get_httperror(response)
        # The data of an upload is gone: it is repeated by the caller.
        if (
            status != http.HTTPStatus.UNAUTHORIZED
            or not relogin
            or self._relogin_unsafe
            or filehandle
        ):
            raise error
        if not self._log_on_again(token, response):
            raise error
        return self.request(
            method,
            path,
            headers,
            body,
            timeout=timeout,
            auditmemento=auditmemento,
            relogin=False,
        )

    def _log_on_again(self, token: str | None, response: Any) -> bool:
        """Replace a token that has expired; return whether there is one."""
        with self._lock:
            if self._sessToken != token:
                return True
            if self._relogin_unsafe:
                # The logon of another thread was refused meanwhile.
                return False
            self._logged_in = False
            LOG.info('The session with PowerVM has expired; logging on again')
            try:
                self._logon()
            except pvm_exceptions.HttpUnauth as error:
                # More attempts could lock the account.
                self._relogin_unsafe = True
                error.orig_response = response
                raise
            return True

    def _exchange(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Any,
        upload: bool,
        timeout: float,
    ) -> tuple[int, str, Any, str]:
        """Return status, reason, headers and content of the answer."""
        if not path.startswith(pvm_const.API_BASE_PATH):
            # It may come from a link, and "@host/rest/api" is another host.
            raise answers.BadAnswer('has a link that is not one of PowerVM')
        url = self.dest + path
        with (
            rest_transport.Deadline(timeout) as deadline,
            rest_transport.Session(
                deadline,
                self._check_peer,
                trusts_environment(not self.use_file_auth),
            ) as session,
            self._watched(timeout, headers, deadline),
        ):
            if upload:
                body = rest_transport.extending(body, deadline)
            try:
                with session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    verify=self._verify_tls,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    content = _content(response, headers.get('Accept', ''))
                if deadline.passed:
                    raise TimeoutError
                return (
                    response.status_code,
                    _reason(response),
                    response.headers,
                    content,
                )
            except (*_BROKEN, answers.BadAnswer) as error:
                # The end of a connection can be the end of an answer.
                if isinstance(error, answers.BadAnswer) and (
                    not deadline.passed
                ):
                    # Answers with an error status never raise BadAnswer.
                    error.of_change = _changes(method, path)
                    raise
                raise _translated(error, deadline, method, url) from error

    def _watched(
        self,
        timeout: float,
        headers: dict[str, str],
        deadline: rest_transport.Deadline,
    ) -> contextlib.AbstractContextManager[object]:
        """End a request with a long timeout if the server crashed."""
        if timeout <= self.timeout:
            return contextlib.nullcontext()
        token = headers.get('X-API-Session', '')
        return rest_liveness.Watch(
            lambda: self._ask_for_sign_of_life(token),
            self.timeout,
            deadline.end,
        )

    def _ask_for_sign_of_life(self, token: str) -> None:
        """Send a small request; any answer will do."""
        with (
            rest_transport.Deadline(self.timeout) as deadline,
            rest_transport.Session(
                deadline,
                self._check_peer,
                trusts_environment(not self.use_file_auth),
            ) as session,
            session.get(
                self.dest + _SIGN_OF_LIFE,
                headers={
                    'X-API-Session': token,
                    'X-Audit-Memento': self.auditmemento,
                },
                timeout=self.timeout,
                verify=self._verify_tls,
                allow_redirects=False,
                stream=True,
            ),
        ):
            return

    def _check_peer(self, connection: Any) -> None:
        """Raise an error if another user could receive the token."""
        if not self.use_file_auth:
            return
        found = socket_owner.peers(connection)
        if not found and not socket_owner.is_open(connection):
            # The service ended before it accepted the connection. Not
            # ECONNRESET: urllib3 ignores it in a request.
            raise ConnectionAbortedError(
                errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)
            )
        if not found:
            raise exceptions.PowerVMNotLocal(
                url=self.dest,
                user=self.username,
                reason='no process of this host has the other end of the '
                'connection',
            )
        others = found - self._owners
        if others:
            raise exceptions.PowerVMNotLocal(
                url=self.dest,
                user=self.username,
                reason='a process of user ID '
                f'{", ".join(map(str, sorted(others)))} listens there',
            )

    def _logon(self, conn_tries: int = 1) -> None:
        self._logon_began = token_file.now()
        super()._logon(conn_tries=conn_tries)

    def _get_auth_tok(self, root: Any, resp: Any) -> str:
        """Return the token of a logon with a password."""
        token = (root.findtext(_TOKEN_TAG) or '').strip()
        if not (token and token.isascii() and token.isprintable()):
            raise answers.BadAnswer('to the logon has no token')
        return str(token)

    def _get_auth_tok_from_file(self, root: Any, resp: Any) -> str:
        """Return the token in the file that the server names."""
        path = root.findtext(_FILE_TAG)
        if not path:
            raise answers.BadAnswer('to the logon names no token file')
        try:
            return token_file.read(
                path, self._token_directory, self._logon_began, self._owners
            )
        except token_file.Refused as error:
            raise exceptions.PowerVMTokenFileRefused(
                url=self.dest,
                user=self.username,
                path=text.printable(path[:_SHOWN]),
                reason=error.reason,
            ) from None

    def _logoff(self) -> None:
        with self._lock:
            if not self._logged_in:
                return
            self._logged_in = False
            if sys.is_finalizing():
                # The base class logs off when it is deleted, but no thread
                # starts any more: the deadline would block forever.
                return
            try:
                self.request(
                    'DELETE',
                    pvm_const.LOGON_PATH,
                    relogin=False,
                    timeout=min(self.timeout, _LOGOFF_TIMEOUT),
                )
            except Exception as error:
                LOG.warning(
                    'Could not log off from PowerVM: %s', text.one_line(error)
                )
            # Requests in progress must not log on again.
            self._relogin_unsafe = True


def _changes(method: str, path: str) -> bool:
    """Return whether a request changes something on the platform."""
    return method != 'GET' and not path.endswith('/Logon')


def _type_of(path: str) -> str | None:
    """Return the type of the resource that a change answers.

    :param path: ``/rest/api/SERVICE/TYPE/ID/CHILD_TYPE/ID``, with a query.
    :returns: the last type; None for an operation, which answers a job, for
        a change of a job, and for performance data, whose paths name no type.
    """
    parts = path.partition('?')[0].removeprefix(pvm_const.API_BASE_PATH)
    service, *resources = parts.strip('/').split('/')
    if not resources or service == 'pcm':
        return None
    if 'do' in resources or resources[0] == _JOBS:
        return None
    return resources[::2][-1]


def _check_presence(answer: Answer) -> None:
    """Check that there is a document where one was requested.

    A read has none if nothing was found, or nothing has changed. The
    cancellation of a job needs none.

    :raises BadAnswer: if there is none.
    """
    if answer.body or 'atom' not in (answer.reqheaders or {}).get(
        'Accept', ''
    ):
        return
    is_change = _changes(answer.reqmethod, answer.reqpath)
    if answer.status not in _NO_DOCUMENT or (
        is_change and f'/{_JOBS}/' not in answer.reqpath
    ):
        error = answers.BadAnswer('is empty')
        error.of_change = is_change
        raise error


def trusts_environment(has_password: bool) -> bool:
    """Return whether proxies and certificates of variables are used.

    A logon without password is local. Under sudo, the variables are those of
    another user.

    :param has_password: whether the logon is one with a password.
    :returns: whether they are used.
    """
    return has_password and not (os.getuid() == 0 and 'SUDO_UID' in os.environ)


def _content(response: requests.Response, accept: str) -> str:
    """Return the text of an answer, if it is what was asked for."""
    raw: Any = response.raw
    # That of urllib3 reads lines without a bound.
    source = raw._original_response
    encoding = response.headers.get('Content-Encoding', 'identity')
    if not 200 <= response.status_code < 300:
        return _description(answers.read(source, answers.MAX_ERROR))
    if encoding != 'identity':
        raise answers.BadAnswer('is compressed')
    body = answers.read(source, answers.MAX_DOCUMENT)
    if body is None:
        raise answers.BadAnswer(
            f'has more than {text.size(answers.MAX_DOCUMENT)}'
        )
    if _HTML.match(body):
        # Also an upload or a deletion, whose answers have no document.
        raise answers.BadAnswer('is HTML')
    if not body:
        return ''
    if 'atom' in accept:
        return answers.bounded(body)
    if 'LogonResponse' in accept:
        return answers.document(body, atom=False)
    return body.decode('utf-8', 'replace')


def _description(body: bytes | None) -> str:
    """Return the description of an error if PowerVM sent it."""
    try:
        return answers.document(body, True) if body else ''
    except answers.BadAnswer:
        return ''


def _reason(response: requests.Response) -> str:
    """Return the reason phrase, which the server chooses."""
    reason = text.printable(str(response.reason or '')[:_SHOWN])
    if response.is_redirect:
        return f'{reason} (redirections are not followed)'
    return reason


def _translated(
    error: Exception, deadline: rest_transport.Deadline, method: str, url: str
) -> pvm_exceptions.Error:
    """Return the error that pypowervm raises for one of requests."""
    message = f'{type(error).__name__} for {method} {url}: {error}'
    kind: type[pvm_exceptions.Error] = pvm_exceptions.Error
    if deadline.passed:
        kind = pvm_exceptions.TimeoutError
        message = f'{method} {url} timed out'
    elif isinstance(error, requests_exceptions.SSLError):
        kind = pvm_exceptions.SSLError
    elif isinstance(error, requests_exceptions.ConnectionError):
        kind = pvm_exceptions.ConnectionError
    elif isinstance(error, requests_exceptions.Timeout | TimeoutError):
        kind = pvm_exceptions.TimeoutError
    elif not isinstance(error, requests_exceptions.RequestException):
        kind = pvm_exceptions.ConnectionError
    return kind(message)
