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

"""Installed plugins, and conflicts of their names."""

from pvm_imagecache.system import entry_points
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base

_DRIVERS = 'pvm_imagecache.drivers'


class FindTest(base.TestCase):
    def install(self, name, package='theirs', namespace=_DRIVERS):
        self.useFixture(
            packages.Package('X = 1', {namespace: {name: 'X'}}, package)
        )

    def conflicts(self, *reserved, key=str):
        return {
            (each.name, each.package): each.conflict
            for each in entry_points.find(_DRIVERS, reserved, key)
        }

    def test_plugins_of_this_project_are_built_in(self):
        found = entry_points.find(_DRIVERS)
        self.assertEqual(
            ['localdisk', 'ssp'],
            [each.name for each in found if each.built_in],
        )
        self.assertEqual(
            [each.value for each in found],
            [
                each.value
                for each in sorted(
                    entry_points.of_this_project(_DRIVERS),
                    key=lambda each: each.name,
                )
            ],
        )

    def test_a_new_name_has_no_conflict(self):
        self.install('mine')
        self.assertEqual({''}, set(self.conflicts().values()))
        (mine,) = [
            each for each in entry_points.find(_DRIVERS) if each.name == 'mine'
        ]
        self.assertEqual('theirs 1.5', mine.distribution)
        self.assertFalse(mine.built_in)
        self.assertEqual(1, mine.load())

    def test_the_built_in_plugin_stays(self):
        self.install('ssp')
        found = self.conflicts()
        self.assertEqual('', found['ssp', 'pvm_imagecache'])
        self.assertIn('built-in', found['ssp', 'theirs'])

    def test_two_of_one_name_are_both_refused(self):
        for package in ('one', 'two', 'three'):
            self.install('mine', package)
        found = self.conflicts()
        for package in ('one', 'two', 'three'):
            self.assertIn(
                'one 1.5 and three 1.5 and two 1.5', found['mine', package]
            )
        self.assertEqual('', found['ssp', 'pvm_imagecache'])

    def test_reserved_names_are_refused(self):
        self.install('core')
        self.assertIn('built-in', self.conflicts('core')['core', 'theirs'])

    def test_names_are_compared_by_their_key(self):
        self.install('my_disk', 'one')
        self.install('my disk', 'two')
        self.assertEqual({''}, set(self.conflicts().values()))
        found = self.conflicts(key=lambda name: name.replace('_', ' '))
        self.assertIn('Uninstall', found['my disk', 'two'])
        self.assertIn('Uninstall', found['my_disk', 'one'])

    def test_another_namespace_is_no_conflict(self):
        self.install('ssp', namespace='pvm_imagecache.eviction')
        self.assertEqual({''}, set(self.conflicts().values()))

    def test_what_an_import_raises_is_one_error(self):
        for code, cause in (
            ('raise SystemExit', 'SystemExit'),
            ('class E(BaseException):\n    pass\nraise E', 'E'),
            ('import nowhere_at_all', 'ModuleNotFoundError'),
        ):
            with packages.Package(code, {_DRIVERS: {'mine': 'X'}}):
                (mine,) = [
                    each
                    for each in entry_points.find(_DRIVERS)
                    if each.name == 'mine'
                ]
                error = self.assertRaises(entry_points.ImportFailed, mine.load)
            self.assertIn(cause, str(error))

    def test_an_interrupt_at_import_is_no_fault_of_the_plugin(self):
        with packages.Package(
            'raise KeyboardInterrupt', {_DRIVERS: {'mine': 'X'}}
        ):
            (mine,) = [
                each
                for each in entry_points.find(_DRIVERS)
                if each.name == 'mine'
            ]
            self.assertRaises(KeyboardInterrupt, mine.load)
