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

"""The example packages, installed, with Glance and the simulator.

Run by ``tox -e examples``, which builds and installs the packages of
``examples/``. Their own tests are beside them.
"""

import json
import pathlib
import subprocess
import sys
import time
from typing import Any
import uuid

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

_SIZE = (1 << 20) + 17


class ExamplesTestCase(base.FunctionalTestCase):
    options = (
        'eviction_policies = golden-images,lru\n'
        'listeners = metrics,audit-log\n'
        'minimum_age = 0\n'
        'image_properties = os_distro\n'
    )

    def setUp(self) -> None:
        super().setUp()
        self.tag = uuid.uuid4().hex[:8]
        self.audit_log = self.directory / 'audit.log'
        self.append(
            '[pvm_imagecache_golden_images]\nkeep = 1\nprotected = golden.*\n'
            '[pvm_imagecache_lru]\nmax_images = 1\n'
            f'[pvm_imagecache_audit_log]\npath = {self.audit_log}\n'
        )

    def append(self, text: str) -> None:
        with open(self.conf_file, 'a', encoding='utf-8') as file:
            file.write(text)

    def called(self, name: str) -> str:
        """Return the name of an image of this test."""
        return f'golden.{self.tag}' if name == 'golden' else self.tag + name

    def add(self, name: str, seed: int) -> str:
        """Put an image into Glance, which has those of all tests.

        The name gets a beginning that no other test has.
        """
        return self.glance.create_image(
            self.called(name), images.raw_bytes(_SIZE, seed), disk_format='raw'
        )

    def done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that must succeed."""
        found = self.run_shell(*arguments)
        self.assertEqual(0, found.returncode, found.stdout + found.stderr)
        return found

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, '-f', 'json').stdout)

    def events(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in self.audit_log.read_text().splitlines()
        ]

    def names(self) -> set[str]:
        return {self.plain(each['Name']) for each in self.json('list')}

    def plain(self, name: str) -> str:
        """Return what a test calls an image."""
        return name.replace(self.tag, '').rstrip('.')


class InstalledTestCase(ExamplesTestCase):
    def test_all_packages_are_installed_and_usable(self) -> None:
        found = {
            (each['Kind'], each['Name']): each
            for each in self.json('plugin', 'list')
        }
        for kind, name, package, state in (
            ('eviction', 'golden-images', 'golden-images', 'enabled'),
            ('eviction', 'keep-deployed', 'keep-deployed', 'available'),
            ('driver', 'directory', 'directory-pool', 'available'),
            ('listener', 'audit-log', 'audit-log', 'enabled'),
            ('command', 'project report', 'project-report', 'enabled'),
            ('command', 'project clean', 'project-report', 'enabled'),
        ):
            row = found[kind, name]
            self.assertEqual(
                (f'pvm-imagecache-{package} 1.0.0', '1.0.0', state, ''),
                (row['Package'], row['Version'], row['State'], row['Error']),
            )


class PolicyAndListenerTestCase(ExamplesTestCase):
    def test_images_are_protected_grouped_and_audited(self) -> None:
        self.add('golden', 0)
        for number in (1, 2, 3):
            self.add(f'daily-{number}', number)
            # Glance says in whole seconds when it created an image.
            time.sleep(1.1)
        for name in ('golden', 'daily-1', 'daily-2', 'daily-3'):
            self.done('prefetch', self.called(name))
        row = self.json('explain', self.called('golden'))
        self.assertEqual(
            ('protected', 'golden-images'), (row['code'], row['policy'])
        )
        codes = {
            self.plain(each['Name']): (each['Policy'], each['Code'])
            for each in self.json('evict', '--dry-run')
        }
        self.assertEqual(
            {
                'daily-1': ('golden-images', 'superseded'),
                'daily-2': ('golden-images', 'superseded'),
                'daily-3': ('lru', 'too-many'),
            },
            codes,
        )
        self.done('evict')
        self.assertEqual({'golden'}, self.names())
        self.done('purge', self.called('golden'), '--yes')
        found = [
            (
                each['kind'],
                each['code'],
                self.plain(each['image_name']),
            )
            for each in self.events()
        ]
        self.assertEqual(
            [
                ('cached', 'prefetch', 'golden'),
                ('cached', 'prefetch', 'daily-1'),
                ('cached', 'prefetch', 'daily-2'),
                ('cached', 'prefetch', 'daily-3'),
            ],
            found[:4],
        )
        self.assertEqual(
            {
                ('evicted', 'superseded', 'daily-1'),
                ('evicted', 'superseded', 'daily-2'),
                ('evicted', 'too-many', 'daily-3'),
                ('evicted', 'purge', 'golden'),
            },
            set(found[4:]),
        )
        for each in self.events()[:4]:
            self.assertEqual(_SIZE, each['bytes_fetched'])
            self.assertTrue(each['requester'])
            self.assertGreater(each['seconds'], 0)

    def test_a_listener_that_cannot_write_harms_nothing(self) -> None:
        self.add('debian', 0)
        self.audit_log.mkdir()
        found = self.done('prefetch', self.called('debian'))
        self.assertIn('audit-log', found.stderr)
        self.assertIn('pvm-imagecache-audit-log 1.0.0', found.stderr)
        self.assertEqual({'debian'}, self.names())


class CommandTestCase(ExamplesTestCase):
    def policy(self, text: str) -> None:
        """Write the operator's policy file."""
        path = self.directory / 'policy.yaml'
        path.write_text(text)
        content = self.conf_file.read_text()
        if 'policy_file' not in content:
            self.conf_file.write_text(
                content.replace(
                    '[pvm_imagecache]\n',
                    f'[pvm_imagecache]\npolicy_file = {path}\n',
                    1,
                )
            )

    def test_the_report_shows_the_projects_of_images(self) -> None:
        self.add('debian', 0)
        self.done('prefetch', self.called('debian'))
        (row,) = self.json('project', 'report')
        self.assertTrue(row['Project'], 'Glance has an owner of each image')
        self.assertEqual((1, 0), (row['Images'], row['Hits']))
        dry = self.done('project', 'clean', '--dry-run')
        self.assertIn('debian', dry.stdout)
        self.assertEqual({'debian'}, self.names())
        self.done('project', 'clean')
        self.assertEqual(set(), self.names())

    def test_the_policy_file_of_the_operator_is_respected(self) -> None:
        self.policy(
            '"project_report:clean": "!"\n'
            '"pvm_imagecache:list": "rule:project_report:show"\n'
        )
        denied = self.run_shell('project', 'clean')
        self.assertEqual(1, denied.returncode)
        self.assertIn('project_report:clean', denied.stderr)
        self.done('project', 'clean', '--dry-run')
        self.done('list')
        self.policy('"project_report:preview": "!"')
        denied = self.run_shell('project', 'clean', '--dry-run')
        self.assertIn('project_report:preview', denied.stderr)

    def test_tools_know_the_rules(self) -> None:
        sample = subprocess.run(
            [
                sys.executable,
                '-c',
                'from oslo_policy import generator; '
                'generator.generate_sample()',
                '--namespace',
                'pvm_imagecache',
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for rule in ('show', 'clean', 'preview'):
            self.assertIn(f'#"project_report:{rule}"', sample)

    def test_completion_and_help_have_the_commands(self) -> None:
        self.assertIn('project_clean', self.done('complete').stdout)
        self.assertIn(
            'Remove cached images',
            self.done('help', 'project', 'clean').stdout,
        )


class DriverTestCase(ExamplesTestCase):
    options = 'disk_driver = directory\nlisteners =\n'

    def test_the_cache_is_on_the_disks_of_the_driver(self) -> None:
        pool = self.directory / 'pool'
        self.append(
            f'[pvm_imagecache_directory]\npath = {pool}\ncapacity_gib = 5\n'
        )
        self.add('debian', 0)
        self.done('prefetch', self.called('debian'))
        created = self.json('disk', 'create', self.called('debian'), 'vm1')
        self.assertEqual('hit', created['outcome'])
        (path,) = pathlib.Path(pool).glob('vm1~*')
        self.assertEqual(images.raw_bytes(_SIZE, 0), path.read_bytes()[:_SIZE])
        self.done('purge', '--all', '--yes')
        self.assertEqual([path], list(pathlib.Path(pool).glob('*~*')))
