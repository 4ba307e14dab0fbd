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

"""The conformance suite of pvm_imagecache, and tests of the listener."""

import json
import os
import pathlib
import tempfile
import unittest

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import fixtures


def temporary_directory(test):
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    return pathlib.Path(directory.name)


class AuditLogTest(fixtures.ListenerConformance, unittest.TestCase):
    listener = 'audit-log'

    def configure(self):
        self.path = temporary_directory(self) / 'audit.log'
        return {'pvm_imagecache_audit_log': {'path': self.path}}

    def received(self):
        return self.path.read_text().splitlines() if self.path.exists() else []


class OwnTest(unittest.TestCase):
    def load(self, path):
        (found,) = fixtures.load_listeners(
            fixtures.configuration(
                {
                    'pvm_imagecache': {'listeners': 'audit-log'},
                    'pvm_imagecache_audit_log': {'path': path},
                }
            )
        )
        return found.listener

    def test_an_event_is_a_line_of_json(self):
        path = temporary_directory(self) / 'audit.log'
        listener = self.load(path)
        for name in ('debian', None):
            listener.notify(
                events.Event(
                    events.Kind.EVICTED,
                    'pool',
                    'id',
                    'i_1',
                    5,
                    'purged by an operator',
                    'purge',
                    image_name=name,
                    requester='ann',
                )
            )
        first, second = map(json.loads, path.read_text().splitlines())
        self.assertEqual(
            ('evicted', 'purge', 'debian', 'ann'),
            tuple(
                first[each]
                for each in ('kind', 'code', 'image_name', 'requester')
            ),
        )
        self.assertIsNone(second['image_name'])
        self.assertEqual(0, os.stat(path).st_mode & 0o007)

    def test_a_link_is_not_followed(self):
        directory = temporary_directory(self)
        victim = directory / 'victim'
        (directory / 'audit.log').symlink_to(victim)
        listener = self.load(directory / 'audit.log')
        with self.assertRaises((OSError, exceptions.StateRefused)):
            listener.notify(
                events.Event(events.Kind.EVICTED, 'pool', 'id', 'i_1', 5)
            )
        self.assertFalse(victim.exists())

    def test_the_path_is_required(self):
        for path in ('', 'audit.log'):
            with self.assertRaisesRegex(
                exceptions.ConfigurationError, 'pvm_imagecache_audit_log'
            ):
                self.load(path)
