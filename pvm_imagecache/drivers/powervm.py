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

"""The session with the PowerVM REST API, and what its errors mean.

Every error of pypowervm is turned into one of ours here and nowhere else.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import http
import os
import random
import threading
import time
from typing import Any
from typing import Final
from typing import TypeVar

from lxml import etree
from oslo_log import log as logging
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm import exceptions as pvm_exceptions
from pypowervm.helpers import vios_busy

from pvm_imagecache import exceptions
from pvm_imagecache.system import network_errors
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

_Result = TypeVar('_Result')

#: Seconds before each repetition of a call that met a transient fault.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)
_LONGEST_PAUSE: Final = 1.0
_LOOPBACK: Final = ('localhost', '127.0.0.1', '::1', '[::1]')
#: pypowervm looks for a certificate of the host here before it asks the
#: system's; what it does with one no longer works on current Pythons.
_NO_SUCH_DIRECTORY: Final = '/nonexistent/'
_NO_SPACE_SIGNS: Final = (
    'not enough space',
    'not enough free',
    'insufficient space',
    'no space',
    'insufficient free',
    '0516-404',
    '0516-822',
)


@dataclasses.dataclass(frozen=True)
class Connection:
    """Where the REST API is, and who we are there; seconds.

    :ivar password: without one the logon is by a token file, which works
        only on the NovaLink partition itself.
    """

    host: str = 'localhost'
    port: int | None = None
    protocol: str | None = None
    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    timeout: int = 1200
    verify_tls: bool = True

    @classmethod
    def from_conf(cls, conf: Any) -> 'Connection':
        """What the configuration says in ``[pvm_imagecache]``."""
        options = conf.pvm_imagecache
        return cls(
            host=options.host,
            port=options.port,
            protocol=options.protocol,
            user=options.user,
            password=options.password,
            timeout=options.request_timeout,
            verify_tls=options.verify_tls,
        )

    @property
    def url(self) -> str:
        """For messages."""
        protocol = self.protocol or ('https' if self.password else 'http')
        port = self.port or pvm_const.PORT_DEFAULT_BY_PROTO.get(protocol)
        return f'{protocol}://{self.host}:{port}'


class AdapterSource:
    """Logs on when an adapter is first needed, and off when asked to."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._guard = threading.Lock()
        self._adapter: Any = None

    def __call__(self) -> Any:
        """A ``pypowervm.adapter.Adapter`` with a session.

        :raises PowerVMUnreachable: if nothing answers.
        :raises PowerVMLogonFailed: if the logon is refused.
        """
        with self._guard:
            if self._adapter is None:
                with translated(self.connection, 'log on'):
                    self._adapter = _log_on(self.connection)
            return self._adapter

    def close(self) -> None:
        """Log off.

        pypowervm does so when the last reference to the session is gone,
        which an error with a traceback can put off until the interpreter
        is half taken down; it has no public way to do it before.
        """
        with self._guard:
            adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.session._logoff()

    @contextlib.contextmanager
    def translated(self, action: str) -> Iterator[None]:
        """Turn errors of pypowervm inside the block into ours.

        A session that is not let in any more is given up: pypowervm would
        never try to log on with it again.
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
    session = pvm_adapter.Session(
        host=connection.host,
        username=connection.user,
        password=connection.password,
        protocol=protocol,
        port=connection.port,
        timeout=connection.timeout,
        certpath=_NO_SUCH_DIRECTORY if connection.verify_tls else None,
    )
    return pvm_adapter.Adapter(
        session, helpers=[vios_busy.vios_busy_retry_helper]
    )


@contextlib.contextmanager
def translated(connection: Connection, action: str) -> Iterator[None]:
    """Turn what pypowervm raises inside the block into errors of ours.

    :param action: what is being done, as it follows "refused to".
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
            reason=one_line(error),
        ) from error
    except pvm_exceptions.HttpError as error:
        raise _refusal(error, action) from error
    except pvm_exceptions.Error as error:
        raise exceptions.PowerVMRequestFailed(
            action=action, reason=one_line(error)
        ) from error
    except etree.LxmlError as error:
        # pypowervm reads the answer to a logon as it comes.
        raise exceptions.PowerVMRequestFailed(
            action=action,
            reason=f'what {connection.url} answered is no XML, as if '
            f'something else listened there: {one_line(error)}.'
            f'{_proxy_hint(connection)}',
        ) from error


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of ours or of pypowervm, if any."""
    while error is not None:
        response = getattr(error, 'response', None)
        if response is not None:
            return int(response.status)
        error = error.__cause__
    return None


def means_no_space(error: BaseException) -> bool:
    """Whether the platform refused for want of space.

    REST has no code for it: the words are those of the VIOS.
    """
    text = str(error).lower()
    return any(sign in text for sign in _NO_SPACE_SIGNS)


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks."""
    return (' '.join(str(error).split()) or type(error).__name__).rstrip('.')


@waiting.on('PowerVM')
def retry(
    call: Callable[[], _Result],
    even_after: type[exceptions.PowerVMError] | tuple[()] = (),
) -> _Result:
    """Make a call that may be repeated again after transient faults.

    :param even_after: errors after which it is repeated though they don't
        seem to pass.
    :raises PowerVMError: the last one, when the limit is reached.
    """
    for delay in RETRY_DELAYS:
        try:
            return call()
        except exceptions.PowerVMError as error:
            if not (error.transient or isinstance(error, even_after)):
                raise
            LOG.warning(
                'Trying it again in %(delay).1f s: %(error)s',
                {'delay': delay, 'error': error},
            )
            time.sleep(delay)
    return call()


@waiting.on('PowerVM')
def pause(attempt: int) -> None:
    """Let others who change the same thing go first, for another time each.

    :param attempt: the number of the attempt that has failed, from 0 on.
    """
    longest = min(0.01 * 2**attempt, _LONGEST_PAUSE)
    # No secret hangs on it.
    time.sleep(random.uniform(0, longest))  # noqa: S311


def retry_read(call: Callable[[], _Result]) -> _Result:
    """Make a call that changes nothing: once more even if it timed out.

    :raises PowerVMError: the last one, when the limit is reached.
    """
    try:
        return retry(call)
    except exceptions.PowerVMTimedOut as error:
        LOG.warning('Asking once more: %s', error)
        return retry(call)


def log_and_continue(action: str, call: Callable[[], Any]) -> bool:
    """Tidy something up; if that fails, log why and go on.

    :returns: whether it worked, or there was nothing left to tidy.
    """
    try:
        call()
    except (pvm_exceptions.Error, exceptions.PVMImageCacheError) as error:
        LOG.warning(
            'Could not %(action)s: %(error)s',
            {'action': action, 'error': one_line(error)},
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
    return kind(action=action, reason=one_line(error))


def _proxy_hint(connection: Connection) -> str:
    if connection.host not in _LOOPBACK:
        return ''
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        if os.environ.get(name):
            return (
                f' {name} is set, and is used for this host too: put '
                f'{connection.host} into no_proxy.'
            )
    return ''
