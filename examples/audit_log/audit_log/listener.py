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

"""A listener that appends a line of JSON to a file for each event."""

import dataclasses
import json
import os
from typing import Final

from oslo_config import cfg

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types
from pvm_imagecache.system import private_files

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_audit_log',
    title='Event listener audit-log',
    help='The listener audit-log appends the events of the cache to a file.',
)
OPTIONS: Final = [
    cfg.StrOpt(
        'path',
        help="""
File to which the events are appended, as lines of JSON. Required.

Possible values:

* An absolute path
""",
    ),
]
#: Only root and the group of nova-compute may read who did what.
_MODE: Final = 0o640


class AuditLog(events.EventListener):
    """Appends a line of JSON to a file for each event.

    :param path: of the file; created if it does not exist.
    """

    api_version = 1

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'AuditLog':
        """Make the listener from its options."""
        registration.register(conf, GROUP, OPTIONS)
        path = conf[GROUP.name].path
        if not path or not os.path.isabs(path):
            raise exceptions.ConfigurationError(
                reason=f'path in [{GROUP.name}] must be an absolute path.'
            )
        return cls(path)

    def notify(self, event: events.Event) -> None:
        """Append an event.

        The file is opened each time, so that it can be rotated. One write of
        one line is atomic: several processes can append to the file.
        """
        facts = dataclasses.asdict(event) | {'kind': event.kind.value}
        directory, name = os.path.split(self._path)
        # The commands run as root, and the directory can be that of another
        # user: no links are followed, and that user's rights are enough.
        with private_files.opened(directory) as opened:
            descriptor = opened.open(
                name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE
            )
        try:
            os.write(descriptor, json.dumps(facts).encode() + b'\n')
        finally:
            os.close(descriptor)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config."""
    return [(GROUP, list(OPTIONS))]
