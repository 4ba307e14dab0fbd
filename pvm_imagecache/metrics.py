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

"""What the cache does, as metrics for Prometheus in a file.

The textfile collector of node_exporter reads them from there, which runs as
a user of its own: other than all else that this project writes the file can
be read by everybody. It holds numbers, and the name of the pool.
"""

from collections.abc import Iterator
import contextlib
import os
import stat
import tempfile
import time
from typing import Any
from typing import Final

from pvm_imagecache import exceptions

FILE_MODE: Final = 0o644
_OUTCOMES: Final = ('hit', 'miss', 'bypass', 'pool')
_REMOVALS: Final = ('evict', 'purge')


def write(path: str, usage: Any) -> None:
    """Write the metrics to a file, whole or not at all.

    :param usage: a :class:`pvm_imagecache.manager.Usage`.
    :raises MetricsError: if that can't be done.
    """
    content = render(usage)
    try:
        _replace(path, content)
    except OSError as error:
        raise exceptions.MetricsError(
            reason=f'The metrics can not be written to {path}: '
            f'{error.strerror}.'
        ) from error


def render(usage: Any) -> bytes:
    """The metrics as Prometheus reads them.

    :raises MetricsError: if prometheus_client is not installed.
    """
    try:
        import prometheus_client
        from prometheus_client import core
    except ImportError as error:
        raise exceptions.MetricsError(
            reason='Metrics need the package prometheus_client: "pip install '
            'pvm_imagecache[prometheus]" in the environment of this '
            f'command ({error}).'
        ) from error
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Collector(core, usage))
    return bytes(prometheus_client.generate_latest(registry))


class _Collector:
    def __init__(self, core: Any, usage: Any) -> None:
        self._core = core
        self._usage = usage

    def collect(self) -> Iterator[Any]:
        """Called by prometheus_client."""
        usage = self._usage
        yield self._gauge(
            'pool_size_bytes', 'Size of the pool.', usage.pool.capacity
        )
        yield self._gauge(
            'pool_used_bytes',
            'Used of the pool, by disks of all kinds.',
            usage.pool.used,
        )
        yield self._gauge('images', 'Images that are cached.', usage.images)
        yield self._gauge(
            'size_bytes', 'Used of the pool by cached images.', usage.cached
        )
        yield self._counters(
            'deploys',
            'Disks made, by how they got their bytes.',
            'outcome',
            _OUTCOMES,
        )
        yield self._counters(
            'removals', 'Images removed from the cache.', 'action', _REMOVALS
        )
        yield self._counter(
            'fetched_bytes', 'Bytes fetched from Glance.', usage.bytes_fetched
        )
        yield self._counter(
            'saved_bytes',
            'Bytes that hits did not have to fetch.',
            usage.bytes_saved,
        )
        if usage.seconds_saved is not None:
            yield self._gauge(
                'saved_seconds',
                'By how much hits were faster than fetches, as an estimate.',
                usage.seconds_saved,
            )
        if usage.last_pass is not None:
            yield self._gauge(
                'last_pass_timestamp_seconds',
                'When the cache was last tidied up.',
                usage.last_pass.at,
            )
            yield self._gauge(
                'last_pass_troubled',
                'Whether something went wrong then.',
                bool(usage.last_pass.trouble),
            )
        yield self._gauge(
            'written_timestamp_seconds', 'When this was written.', time.time()
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


def _replace(path: str, content: bytes) -> None:
    """Put a new file in the place of an old one, in one step."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileExistsError(0, 'it is there, and is no plain file')
    # node_exporter takes no notice of names that do not end in .prom.
    descriptor, temporary = tempfile.mkstemp(
        prefix='.pvm_imagecache-', dir=os.path.dirname(path) or '.'
    )
    try:
        with os.fdopen(descriptor, 'wb') as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
