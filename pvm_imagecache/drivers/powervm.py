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

"""The session with the PowerVM REST API, and the meaning of its errors.

This module is the only place that translates errors of pypowervm into errors
of this project.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import contextlib
import dataclasses
import http
import itertools
import os
import pwd
import threading
import time
import traceback
from typing import Any
from typing import Final
from typing import TypeVar

from oslo_log import log as logging
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm import exceptions as pvm_exceptions
from pypowervm.helpers import vios_busy

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache import text
from pvm_imagecache.conf import types as conf_types
from pvm_imagecache.drivers import answers
from pvm_imagecache.drivers import refusals
from pvm_imagecache.drivers import rest_session
from pvm_imagecache.system import network_errors
from pvm_imagecache.system import retry as retry_module
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

_Result = TypeVar('_Result')

#: Seconds to wait before each repetition of a call after a transient error.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)
#: How often an update is attempted while other processes change the same
#: object.
UPDATE_ATTEMPTS: Final = 40
_LOOPBACK: Final = ('localhost', '127.0.0.1', '::1', '[::1]')
#: Characters of an error of the server that a message shows.
_SHOWN: Final = 4000
#: Texts of the VIOS: the REST API has no error code for a full pool. Not
#: 0516-822, which ends every refusal to create a logical volume, for example
#: because its name is in use.
_NO_SPACE_SIGNS: Final = (
    'not enough space',
    'not enough free',
    'insufficient space',
    'no space',
    'insufficient free',
    '0516-404',
)
#: Free space of this many times the size of a disk is enough for any of
#: them: AIX keeps at most three copies of a logical volume.
_PLENTY: Final = 4
_NO_FACTS: Final = platform_facts.PlatformFacts()


@dataclasses.dataclass(frozen=True)
class Connection:
    """Address and credentials of the REST API.

    :ivar host: name or address of the NovaLink partition or the HMC.
    :ivar port: None for the default port of the protocol.
    :ivar protocol: ``http`` or ``https``; None for ``https`` if there is a
        password, ``http`` otherwise.
    :ivar user: None for the local user.
    :ivar password: without one, the logon uses a token file, which works
        only on the NovaLink partition itself.
    :ivar timeout: of one request, in seconds.
    :ivar verify_tls: whether the certificate of the host is verified.
    :ivar token_directory: of the token files; '' for any that is protected.
    :ivar rest_user: name or ID of the user that runs the REST API here.
    """

    host: str = 'localhost'
    port: int | None = None
    protocol: str | None = None
    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    timeout: int = 1200
    verify_tls: bool = True
    token_directory: str = ''
    rest_user: str = 'root'

    @classmethod
    def from_conf(cls, conf: conf_types.Conf) -> 'Connection':
        """Return the connection that ``[pvm_imagecache]`` describes.

        :param conf: an ``oslo_config.cfg.ConfigOpts``.
        :returns: the connection; no request is made.
        """
        options = conf.pvm_imagecache
        return cls(
            host=options.host,
            port=options.port,
            protocol=options.protocol,
            user=options.user,
            password=options.password,
            timeout=options.request_timeout,
            verify_tls=options.verify_tls,
            token_directory=options.token_directory,
            rest_user=options.rest_user,
        )

    @property
    def url(self) -> str:
        """The base URL, for messages."""
        protocol = self.protocol or ('https' if self.password else 'http')
        port = self.port or pvm_const.PORT_DEFAULT_BY_PROTO.get(protocol)
        host = self.host
        if ':' in host and not host.startswith('['):
            host = f'[{host}]'
        return f'{protocol}://{host}:{port}'


class AdapterSource:
    """One session with PowerVM, opened when it is first needed.

    Safe to use from several threads.

    :param connection: address and credentials of the REST API.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._guard = threading.Lock()
        self._adapter: Any = None

    def __call__(self) -> Any:
        """Return a ``pypowervm.adapter.Adapter`` with an open session.

        :returns: the adapter, the same one for all callers.
        :raises ConfigurationError: if the protocol is not supported.
        :raises PowerVMUnreachable: if the host does not answer.
        :raises PowerVMLogonFailed: if the logon is refused.
        :raises PowerVMRequestFailed: if the answer is not that of a PowerVM
            REST API.
        """
        with self._guard:
            if self._adapter is None:
                with translated(self.connection, 'log on'):
                    self._adapter = _log_on(self.connection)
            return self._adapter

    def close(self) -> None:
        """Log off; the next call opens a new session.

        pypowervm logs off when the last reference to the session is gone.
        A traceback can delay that until the interpreter shuts down, and
        pypowervm has no public method to log off earlier.
        """
        with self._guard:
            adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.session._logoff()

    @contextlib.contextmanager
    def translated(self, action: str) -> Iterator[None]:
        """Translate errors that pypowervm raises inside the block.

        A session that PowerVM no longer accepts is dropped, because
        pypowervm would never log on with it again. See :func:`translated`
        for the errors.

        :param action: what the block does, as it follows "refused to".
        """
        try:
            with translated(self.connection, action):
                yield
        except exceptions.PowerVMLogonFailed:
            with self._guard:
                self._adapter = None
            raise


def _log_on(connection: Connection) -> Any:
    protocol = connection.protocol
    if protocol and protocol not in pvm_const.PORT_DEFAULT_BY_PROTO:
        raise exceptions.ConfigurationError(
            reason=f'protocol in [pvm_imagecache] is "{protocol}"; it must '
            'be http or https.'
        )
    session = rest_session.Session(
        owners=_owners(connection),
        token_directory=connection.token_directory,
        verify_tls=connection.verify_tls,
        host=connection.host,
        username=connection.user,
        password=connection.password,
        protocol=protocol,
        port=connection.port,
        timeout=connection.timeout,
        # pypowervm would look for a certificate of the host here. Its code
        # for that fails on current Pythons.
        certpath=None,
    )
    return pvm_adapter.Adapter(
        session, helpers=[vios_busy.vios_busy_retry_helper]
    )


def _owners(connection: Connection) -> set[int]:
    """Return the user IDs that are trusted with a logon without password."""
    if connection.password is not None:
        return set()
    try:
        # A container need not know the name of a user of the host.
        service = (
            int(connection.rest_user)
            if connection.rest_user.isdecimal()
            else pwd.getpwnam(connection.rest_user).pw_uid
        )
    except KeyError:
        raise exceptions.ConfigurationError(
            reason='rest_user in [pvm_imagecache] is '
            f'"{connection.rest_user}", which is no user of this host.'
        ) from None
    return {0, service, os.getuid()}


@contextlib.contextmanager
def translated(connection: Connection, action: str) -> Iterator[None]:
    """Translate errors that pypowervm raises inside the block.

    :param connection: names the host in messages.
    :param action: what the block does, as it follows "refused to".
    :raises PowerVMTimedOut: if no answer came in time.
    :raises PowerVMNotThere: if the host cannot be reached, and a repetition
        would not help.
    :raises AnswerUnusable: if the answer to a change cannot be used.
    :raises PowerVMUnreachable: if the connection failed in another way.
    :raises PowerVMLogonFailed: if the credentials are refused.
    :raises PowerVMBusy: if the host or its VIOS is busy.
    :raises PowerVMRequestFailed: if the request is refused, or the answer is
        not XML.
    """
    try:
        with waiting.on('PowerVM'):
            yield
    except (
        pvm_exceptions.ConnectionError,
        pvm_exceptions.TimeoutError,
        pvm_exceptions.SSLError,
    ) as error:
        reason = network_errors.plain_cause(error)
        kind = exceptions.PowerVMUnreachable
        if isinstance(error, pvm_exceptions.TimeoutError):
            kind = exceptions.PowerVMTimedOut
        elif network_errors.is_permanent(reason):
            kind = exceptions.PowerVMNotThere
        raise kind(
            url=connection.url, reason=reason, hint=_proxy_hint(connection)
        ) from error
    except (
        pvm_exceptions.HttpUnauth,
        pvm_exceptions.AuthFileReadError,
        pvm_exceptions.AuthFileAccessError,
    ) as error:
        raise exceptions.PowerVMLogonFailed(
            url=connection.url,
            user=connection.user or 'the local user',
            reason=text.one_line(error),
        ) from error
    except answers.BadAnswer as error:
        if error.of_change:
            raise unusable(connection, str(error)) from error
        raise _bad_answer(connection, action, str(error)) from error
    except pvm_exceptions.HttpError as error:
        raise _refusal(error, action) from error
    except pvm_exceptions.Error as error:
        raise exceptions.PowerVMRequestFailed(
            action=action, reason=_shown(error)
        ) from error
    except Exception as error:
        # pypowervm does not check that answers have what it looks for.
        if not _is_of_pypowervm(error):
            raise
        raise _bad_answer(
            connection, action, 'is not what pypowervm expects'
        ) from error


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status that caused an error.

    :param error: an error of this project or of pypowervm.
    :returns: the status of the first response in the chain of causes; None
        if there is none.
    """
    while error is not None:
        response = getattr(error, 'response', None)
        if response is not None:
            return int(response.status)
        error = error.__cause__
    return None


def means_no_space(
    error: BaseException,
    facts: platform_facts.PlatformFacts = _NO_FACTS,
    names: Collection[str] = (),
) -> bool:
    """Return whether PowerVM refused a request for lack of space.

    :param error: its message is compared with the texts of the VIOS, and
        with the one that was measured.
    :param facts: what was measured of the platform.
    :param names: of the disks that were requested, and of their pool.
    :returns: True if one of the texts is in the message.
    """
    message = str(error)
    return any(
        sign in message.lower() for sign in _NO_SPACE_SIGNS
    ) or refusals.is_like(
        message, facts.no_space_words, facts.name_exists_words, names
    )


def raise_if_full(
    error: exceptions.PowerVMError,
    *,
    pool: str,
    needed: int,
    what: str,
    free: int | None = None,
    facts: platform_facts.PlatformFacts = _NO_FACTS,
    names: Collection[str] = (),
) -> None:
    """Raise NotEnoughSpace in place of an error that means a full pool.

    :param error: of the request that was refused.
    :param pool: the pool, as the subject of a sentence.
    :param needed: bytes that the request needed.
    :param what: what they were needed for.
    :param free: bytes that the pool reports as free, if known.
    :param facts: what was measured of the platform.
    :param names: of the disks that were requested, and of their pool.
    :raises NotEnoughSpace: if PowerVM refused the request for lack of space.
    :raises SpaceRefused: if it did so although enough space is free.
    """
    if not means_no_space(error, facts, names):
        return
    if free is not None and needed <= free:
        raise exceptions.SpaceRefused(
            pool=pool,
            free=text.size(free),
            needed=text.size(needed),
            needed_bytes=needed,
            what=what,
            reason=text.one_line(getattr(error, 'reason', error)).rstrip('.'),
            plenty=free >= _PLENTY * needed,
        ) from error
    raise exceptions.NotEnoughSpace(
        pool=pool,
        free='less than that' if free is None else text.size(free),
        needed=text.size(needed),
        needed_bytes=needed,
        what=what,
    ) from error


@waiting.on('PowerVM')
def retry(
    call: Callable[[], _Result],
    even_after: type[exceptions.PowerVMError] | tuple[()] = (),
) -> _Result:
    """Return the result of a call, repeated after transient errors.

    The delays are those of :data:`RETRY_DELAYS`.

    :param call: may be made several times.
    :param even_after: errors that justify a repetition although they are
        not transient.
    :returns: what the call returns.
    :raises PowerVMError: the error of the last attempt, or the first one
        that does not justify a repetition.
    """
    return retry_module.retry(
        call,
        RETRY_DELAYS,
        lambda error: (
            isinstance(error, exceptions.PowerVMError)
            and (error.transient or isinstance(error, even_after))
        ),
    )


def retry_read(call: Callable[[], _Result]) -> _Result:
    """Return the result of a call that changes nothing.

    It is repeated after transient errors, and once after a timeout.

    :param call: may be made several times.
    :returns: what the call returns.
    :raises PowerVMError: the error of the last attempt.
    """
    try:
        return retry(call)
    except exceptions.PowerVMTimedOut as error:
        LOG.warning('Retrying once after a timeout: %s', error)
        return retry(call)


def may_be_done(error: exceptions.PowerVMError) -> bool:
    """Return whether PowerVM may have carried out a request that failed.

    :param error: of the request.
    :returns: True if the answer was lost, or is an error of the server that
        is not transient; False if PowerVM refused the request.
    """
    if isinstance(error, exceptions.PowerVMUnreachable):
        return True
    status = status_of(error)
    return (
        status is not None
        and status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
        and not error.transient
    )


def is_conflict(error: exceptions.PowerVMRequestFailed) -> bool:
    """Return whether another process changed an object before our update.

    :param error: of an update with If-Match.
    :returns: True for HTTP 412.
    """
    return status_of(error) == http.HTTPStatus.PRECONDITION_FAILED


class UpdateAttempt:
    """One attempt to read an object, change it and send it back.

    :param number: of the attempt, from 0.
    :param may_repeat: whether an error of the update calls for another
        attempt.
    """

    def __init__(
        self,
        number: int,
        may_repeat: Callable[[exceptions.PowerVMRequestFailed], bool],
    ) -> None:
        self.number = number
        self._may_repeat = may_repeat

    @contextlib.contextmanager
    def update(self) -> Iterator[None]:
        """Send the update in this block, and leave the loop at its end.

        If another process changed the object, the block ends without an
        error after a pause.

        :raises PowerVMRequestFailed: if the update is refused for another
            reason.
        """
        try:
            yield
        except exceptions.PowerVMRequestFailed as error:
            if not self._may_repeat(error):
                raise
            LOG.debug('Reading again for another update: %s', error)
            self.pause()

    def pause(self) -> None:
        """Wait a random time, longer with each attempt."""
        with waiting.on('PowerVM'):
            retry_module.back_off(self.number)


def update_attempts(
    may_repeat: Callable[
        [exceptions.PowerVMRequestFailed], bool
    ] = is_conflict,
    patience: float = 0.0,
) -> Iterator[UpdateAttempt]:
    """Yield the attempts of an update that other processes may outrun.

    ::

        for attempt in powervm.update_attempts():
            wrapper = read()
            with attempt.update():
                wrapper.update()
                return

    :param may_repeat: whether an error of the update calls for another
        attempt; by default, if another process changed the object.
    :param patience: seconds for which attempts continue in any case.
    :returns: :data:`UPDATE_ATTEMPTS` attempts, or more while the patience
        lasts; the caller raises an error if the loop ends.
    """
    end = time.monotonic() + patience
    for number in itertools.count():
        if number >= UPDATE_ATTEMPTS and time.monotonic() >= end:
            return
        yield UpdateAttempt(number, may_repeat)


def log_and_continue(action: str, call: Callable[[], object]) -> bool:
    """Make a call whose failure must not stop the caller.

    :param action: what the call does, as it follows "Could not".
    :param call: its errors are logged.
    :returns: whether the call succeeded.
    """
    try:
        call()
    except (pvm_exceptions.Error, exceptions.PVMImageCacheError) as error:
        LOG.warning(
            'Could not %(action)s: %(error)s',
            {'action': action, 'error': text.one_line(error)},
        )
        return False
    return True


def _refusal(
    error: pvm_exceptions.HttpError, action: str
) -> exceptions.PowerVMError:
    busy = error.response.status == http.HTTPStatus.SERVICE_UNAVAILABLE or (
        error.her_wrap is not None and error.her_wrap.is_vios_busy()
    )
    kind = exceptions.PowerVMBusy if busy else exceptions.PowerVMRequestFailed
    return kind(action=action, reason=_shown(error))


def _shown(error: Exception) -> str:
    """Return the text of an error, most of which the server chooses."""
    return text.printable(text.one_line(error)[:_SHOWN])


def unusable(
    connection: Connection, problem: str
) -> exceptions.AnswerUnusable:
    """Return the error for an answer to a change that cannot be used.

    :param connection: names the host in the message.
    :param problem: what the answer is, as it follows "the answer".
    :returns: the error, not raised.
    """
    return exceptions.AnswerUnusable(
        url=connection.url, reason=problem, hint=_proxy_hint(connection)
    )


def _bad_answer(
    connection: Connection, action: str, problem: str
) -> exceptions.PowerVMRequestFailed:
    return exceptions.PowerVMRequestFailed(
        action=action,
        reason=f'the answer of {connection.url} {problem}; another service '
        f'may listen there.{_proxy_hint(connection)}',
    )


def _is_of_pypowervm(error: Exception) -> bool:
    """Return whether pypowervm raised an error, not what it calls of ours."""
    names = [
        frame.f_globals.get('__name__', '').partition('.')[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    ours_and_theirs = [
        name for name in names if name in ('pypowervm', 'pvm_imagecache')
    ]
    return ours_and_theirs[-1:] == ['pypowervm']


def _proxy_hint(connection: Connection) -> str:
    if connection.host not in _LOOPBACK or not (
        rest_session.trusts_environment(connection.password is not None)
    ):
        return ''
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        if os.environ.get(name):
            return (
                f' {name} is set and applies to this host too: add '
                f'{connection.host.strip("[]")} to no_proxy.'
            )
    return ''
