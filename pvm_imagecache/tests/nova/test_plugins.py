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

"""Plugins of other packages, in nova-compute and in the shell alike."""

import json
import os
import subprocess
import sys

from pvm_imagecache.tests import packages
from pvm_imagecache.tests.nova import base

SIZE = 3 * base.MIB + 1

CODE = """
    import json

    from oslo_config import cfg

    from pvm_imagecache import events
    from pvm_imagecache.cmd import base as command_base
    from pvm_imagecache.conf import registration
    from pvm_imagecache.eviction import base
    from pvm_imagecache.policies import rules

    GROUP = cfg.OptGroup('pvm_imagecache_theirs')
    OPTIONS = [cfg.StrOpt('path')]


    class Listener(events.EventListener):
        api_version = 1

        def __init__(self, path):
            self.path = path

        @classmethod
        def from_conf(cls, conf):
            registration.register(conf, GROUP, OPTIONS)
            return cls(conf[GROUP.name].path)

        def notify(self, event):
            if self.path:
                with open(self.path, 'a', encoding='utf-8') as file:
                    file.write(json.dumps([
                        event.kind.value, event.code, event.image_id,
                        event.project_id, event.requester]) + '\\n')


    class Hanging(Listener):
        def notify(self, event):
            raise SystemExit(3)


    class Policy(base.EvictionPolicy):
        api_version = 1

        @classmethod
        def from_conf(cls, conf):
            return cls()

        def choose(self, view):
            return ()

        def protects(self, view):
            for each in view.images:
                if each.project_id:
                    yield base.Decision(
                        each.image_id, 'owned', 'a project owns it')


    class Command(command_base.Command):
        'Report something.'

        rule = rules.define('theirs:report', 'Report something.')

        def take_action(self, parsed_args):
            self.app.stdout.write('reported')
"""


class PluginsTestCase(base.NovaTestCase):
    options = {
        'volume_group_name': 'cachevg',
        'eviction_policies': ['theirs', 'age'],
        'listeners': ['exits', 'theirs', 'notifications', 'metrics'],
    }

    def setUp(self) -> None:
        self.package = packages.Package(
            CODE,
            {
                'pvm_imagecache.listeners': {
                    'theirs': 'Listener',
                    'exits': 'Hanging',
                },
                'pvm_imagecache.eviction': {'theirs': 'Policy'},
                'pvm_imagecache.cli': {'report': 'Command'},
            },
        )
        self.package.setUp()
        self.addCleanup(self.package.cleanUp)
        super().setUp()

    def test_the_same_plugins_are_loaded_by_nova_and_the_shell(self) -> None:
        manager = self.compute.driver.image_cache
        self.assertEqual(
            ['theirs', 'age'],
            [each.name for each in manager._cache.policies],
        )
        path = os.path.join(self.package.root, 'events')
        for each in manager._dispatcher._channels:
            each._named.listener.path = path
        image_id = self.store(SIZE)
        self.boot(image_id)
        (found,) = manager.list()
        explained = manager.explain(found)
        self.assertEqual(
            ['owned'], [each.code for each in explained.protections]
        )
        manager._dispatcher.close()
        with open(path, encoding='utf-8') as file:
            events = [json.loads(line) for line in file]
        self.assertEqual(
            [
                ['cached', 'miss', image_id],
                ['deployed', 'miss', image_id],
            ],
            [each[:3] for each in events],
        )
        for each in events:
            self.assertTrue(each[3], 'the project of the request')
            self.assertIn(' as ', each[4])
        self.check_shell()

    def check_shell(self) -> None:
        """The shell has the same plugins, with the same configuration."""
        conf = os.path.join(self.package.root, 'test.conf')
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(
                '[pvm_imagecache]\neviction_policies = theirs,age\n'
                'listeners = exits,theirs\n'
            )
        listed = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                'pvm_imagecache.cmd.main',
                '--config-file',
                conf,
                'plugin',
                'list',
                '-f',
                'json',
            ],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        ).stdout
        self.assertEqual(
            {
                ('listener', 'theirs', 'enabled'),
                ('listener', 'exits', 'enabled'),
                ('eviction', 'theirs', 'enabled'),
                ('command', 'report', 'enabled'),
            },
            {
                (each['Kind'], each['Name'], each['State'])
                for each in json.loads(listed)
                if each['Package'] == 'their-package 1.5'
            },
        )
