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

"""The commands ``disk create`` and ``disk delete``."""

import argparse

import hypothesis
from hypothesis import strategies

from pvm_imagecache.cmd import disks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases


class GibTest(base.TestCase):
    def test_a_size_is_converted_to_bytes(self):
        for text, size in (
            ('1', base.GIB),
            ('20', 20 * base.GIB),
            ('0.5', base.GIB // 2),
            ('1.5', base.GIB * 3 // 2),
            (' 2 ', 2 * base.GIB),
            ('1e3', 1000 * base.GIB),
        ):
            self.assertEqual(size, disks._gib(text))

    def test_an_invalid_size_is_refused(self):
        for text in (
            '',
            '0',
            '-1',
            '0.0',
            'nan',
            'inf',
            '-inf',
            'sNaN',
            'x',
            '1G',
            '1,5',
            '1 2',
        ):
            error = self.assertRaises(
                argparse.ArgumentTypeError, disks._gib, text
            )
            self.assertIn(f'"{text}"', str(error))

    @base.generated
    @hypothesis.given(strategies.integers(1, 10**6))
    def test_whole_gib_are_exact(self, count):
        self.assertEqual(count * base.GIB, disks._gib(str(count)))


class DiskTest(cases.CommandTestCase):
    def test_the_second_disk_is_a_copy(self):
        self.store('debian-13')
        outcomes = [
            self.json('disk create', 'debian-13', name)['outcome']
            for name in ('vm1', 'vm2')
        ]
        self.assertEqual(['miss', 'hit'], outcomes)

    def test_a_disk_is_deleted_by_name(self):
        self.store('debian-13')
        self.run_command('disk', 'create', 'debian-13', 'vm1')
        self.assertRegex(
            self.run_command('disk', 'delete', 'vm1', '--yes'),
            r'^Deleted disk vm1 \(udid\d+\)\.\n$',
        )
        self.assertIn(
            'There is no disk "vm1"', self.refused('disk', 'delete', 'vm1')
        )

    def test_a_deletion_asks_and_shows_the_origin_of_the_disk(self):
        (image,) = self.store('debian-13')
        self.run_command('disk', 'create', 'debian-13', 'vm1')
        self.assertIn('use --yes', self.refused('disk', 'delete', 'vm1'))
        message = self.refused_on_terminal('n', 'disk', 'delete', 'vm1')
        for text in (
            'Disk vm1 (1 GiB, UDID udid',
            f'created from image debian-13 ({image.id}) at 20',
            'it has the label "imagecache_',
            'Delete this disk and its data? [y/N]',
            'Nothing was deleted.',
        ):
            self.assertIn(text, message)
        self.assertIn('vm1', self.driver.names())
        self.run_command('disk', 'delete', 'vm1', stdin=cases.Terminal('y\n'))
        self.assertNotIn('vm1', self.driver.names())

    def test_a_disk_of_another_catalog_is_deleted_only_with_an_option(self):
        for name in ('vm1', 'i_3e865d14_8c1e'):
            self.driver.add(name, label=cases.LABEL_OF_OTHER)
            for arguments in ((), ('--yes',), ('--force', '--yes')):
                message = self.refused('disk', 'delete', name, *arguments)
                for text in (name, '(5e1f0c2a)', '--take-over'):
                    self.assertIn(text, message)
            message = self.refused_on_terminal(
                'n', 'disk', 'delete', name, '--take-over'
            )
            self.assertIn('belongs to another catalog (5e1f0c2a)', message)
            self.assertEqual([name], self.driver.names())
            self.run_command('disk', 'delete', name, '--take-over', '--yes')
            self.assertEqual([], self.driver.names())

    def refused_on_terminal(self, answer, *arguments):
        self.run_command(
            *arguments, code=1, stdin=cases.Terminal(f'{answer}\n')
        )
        return self.errors.getvalue()

    def test_a_disk_that_the_cache_does_not_know_is_refused(self):
        self.driver.add('oracle', 3)
        for arguments in ((), ('--yes',)):
            message = self.refused('disk', 'delete', 'oracle', *arguments)
            for text in ('oracle (3 GiB', 'unknown origin', '--force'):
                self.assertIn(text, message)
        self.assertIn(
            'use --yes', self.refused('disk', 'delete', 'oracle', '--force')
        )
        self.assertEqual(['oracle'], self.driver.names())
        self.run_command('disk', 'delete', 'oracle', '--force', '--yes')
        self.assertEqual([], self.driver.names())

    def test_a_disk_that_was_replaced_meanwhile_is_kept(self):
        self.store('debian-13')
        self.run_command('disk', 'create', 'debian-13', 'vm1')

        class Slow(cases.Terminal):
            def readline(terminal, *args):
                self.driver.vanish('vm1')
                self.driver.add('vm1', 9)
                return 'y\n'

        self.run_command('disk', 'delete', 'vm1', code=1, stdin=Slow())
        self.assertIn('was replaced', self.errors.getvalue())
        self.assertEqual(9 * base.GIB, self.driver.find_disk('vm1').capacity)

    def test_a_cached_image_is_not_deleted(self):
        self.cache('debian-13')
        (name,) = self.driver.names()
        self.assertIn('"purge"', self.refused('disk', 'delete', name))
        self.assertEqual([name], self.driver.names())
