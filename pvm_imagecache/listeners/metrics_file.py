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

"""The listener ``metrics``: writes a file for Prometheus after cleanup runs.

It is enabled by the option ``metrics_textfile``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from oslo_log import log as logging

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import metrics
from pvm_imagecache.conf import types

if TYPE_CHECKING:
    from pvm_imagecache import results

LOG = logging.getLogger(__name__)


class MetricsFile(events.EventListener):
    """Writes the metrics of the cache to a file after each cleanup run.

    :param path: returns the path of the file, which can change while
        nova-compute runs; '' for none.
    """

    api_version = 1

    def __init__(self, path: Callable[[], str]) -> None:
        self._path = path
        self._usage: Callable[[], results.Usage] | None = None

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'MetricsFile':
        """Make the listener from the option ``metrics_textfile``.

        :param conf: the configuration of the process.
        :returns: the listener.
        """
        return cls(lambda: str(conf.pvm_imagecache.metrics_textfile or ''))

    def use(self, usage: 'Callable[[], results.Usage]') -> None:
        """Take the function that returns the figures.

        :param usage: the function.
        """
        self._usage = usage

    def notify(self, event: events.Event) -> None:
        """Write the file, if a cleanup run ended.

        A failure is logged.

        :param event: what happened.
        """
        path = self._path()
        if (
            event.kind is not events.Kind.CLEANUP
            or not path
            or self._usage is None
        ):
            return
        try:
            metrics.write(path, self._usage())
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Could not write the metrics: %s', error)
