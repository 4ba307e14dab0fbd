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

"""Metrics of the cache for Prometheus, in a file.

The textfile collector of node_exporter reads the file. It runs as another
user, so the file is world-readable, unlike all other files of this project.
It contains numbers and the name of the pool only.
"""

from collections.abc import Iterator
import contextlib
import os
import stat
import tempfile
import time
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions

if TYPE_CHECKING:
    from pvm_imagecache import results

FILE_MODE: Final = 0o644
#: What each file begins with.
_START: Final = b'# HELP pvm_imagecache_'
_OUTCOMES: Final = ('hit', 'miss', 'bypass', 'shared-pool')
_REMOVALS: Final = ('evict', 'purge')


def write(
    path: str,
    usage: 'results.Usage',
    rights: contextlib.AbstractContextManager[None] | None = None,
) -> None:
    """Write the metrics to a file, atomically.

    :param path: path of the file. A file of metrics of this project is
        replaced; no other file is.
    :param usage: the usage of the cache.
    :param rights: in this context the process has only the rights with which
        the file is to be written; None for those that it has.
    :raises MetricsError: if the file cannot be written, or prometheus_client
        is not installed.
    """
    content = render(usage)
    try:
        with rights or contextlib.nullcontext():
            _replace(path, content)
    except OSError as error:
        raise exceptions.MetricsError(
            reason=f'The metrics cannot be written to {path}: '
            f'{error.strerror}.'
        ) from error


def render(usage: 'results.Usage') -> bytes:
    """Return the metrics in the text format of Prometheus.

    :param usage: the usage of the cache.
    :returns: the text, encoded.
    :raises MetricsError: if prometheus_client is not installed.
    """
    try:
        import prometheus_client
        from prometheus_client import core
    except ImportError as error:
        raise exceptions.MetricsError(
            reason='Metrics require the package prometheus_client: "pip '
            'install pvm_imagecache[prometheus]" in the environment of this '
            f'command ({error}).'
        ) from error
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Collector(core, usage))
    return bytes(prometheus_client.generate_latest(registry))


class _Collector:
    """Collects the metrics; core is the module prometheus_client.core."""

    def __init__(self, core: Any, usage: 'results.Usage') -> None:
        self._core = core
        self._usage = usage

    def collect(self) -> Iterator[Any]:
        """Yield the metrics. Called by prometheus_client."""
        usage = self._usage
        yield self._gauge(
            'pool_size_bytes', 'Capacity of the pool.', usage.pool.capacity
        )
        yield self._gauge(
            'pool_used_bytes',
            'Used size of the pool, by disks of all kinds.',
            usage.pool.used,
        )
        yield self._gauge('images', 'Number of cached images.', usage.images)
        yield self._gauge(
            'size_bytes', 'Total disk size of cached images.', usage.cached
        )
        yield self._counters(
            'deploys',
            'Created instance disks, by outcome.',
            'outcome',
            _OUTCOMES,
        )
        yield self._counters(
            'removals', 'Images removed from the cache.', 'action', _REMOVALS
        )
        yield self._counter(
            'fetched_bytes',
            'Bytes downloaded from Glance.',
            usage.bytes_fetched,
        )
        yield self._counter(
            'saved_bytes',
            'Bytes that hits did not download.',
            usage.bytes_saved,
        )
        if usage.seconds_saved is not None:
            yield self._gauge(
                'saved_seconds',
                'Estimated time that hits saved.',
                usage.seconds_saved,
            )
        if usage.last_run is not None:
            yield self._gauge(
                'last_run_timestamp_seconds',
                'Time of the last cleanup run.',
                usage.last_run.at,
            )
            yield self._gauge(
                'last_run_failed',
                'Whether the last cleanup run had errors.',
                bool(usage.last_run.error),
            )
        yield self._gauge(
            'written_timestamp_seconds',
            'Time at which the file was written.',
            time.time(),
        )

    def _gauge(self, name: str, text: str, value: float) -> Any:
        family = self._core.GaugeMetricFamily(
            f'pvm_imagecache_{name}', text, labels=['pool']
        )
        family.add_metric([self._usage.pool.name], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Any:
        family = self._core.CounterMetricFamily(
            f'pvm_imagecache_{name}', text, labels=['pool']
        )
        family.add_metric([self._usage.pool.name], value)
        return family

    def _counters(
        self, name: str, text: str, label: str, actions: tuple[str, ...]
    ) -> Any:
        family = self._core.CounterMetricFamily(
            f'pvm_imagecache_{name}', text, labels=['pool', label]
        )
        for action in actions:
            total = self._usage.totals.get(action)
            family.add_metric(
                [self._usage.pool.name, action], total.times if total else 0
            )
        return family


def _check_ours(path: str) -> None:
    """Raise FileExistsError if another program could need the file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, 'rb') as file:
        found = os.fstat(descriptor)
        if not (
            stat.S_ISREG(found.st_mode)
            and found.st_nlink == 1
            and file.read(len(_START)) == _START
        ):
            raise FileExistsError(
                0, 'it exists and is not a file of metrics of this command'
            )


def _replace(path: str, content: bytes) -> None:
    """Replace a file atomically."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileExistsError(0, 'it exists and is not a regular file')
    # node_exporter ignores files whose names do not end in .prom.
    descriptor, temporary = tempfile.mkstemp(
        prefix='.pvm_imagecache-', dir=os.path.dirname(path) or '.'
    )
    try:
        with os.fdopen(descriptor, 'wb') as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            _check_ours(path)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
