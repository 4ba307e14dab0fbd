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

"""Which releases of nova and pypowervm are supported."""

import dataclasses
from importlib import metadata
import pathlib
import sys

import hypothesis
from hypothesis import strategies

from pvm_imagecache.system import releases
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base

State = releases.State


class StateTest(base.TestCase):
    def find(self, version, supported=releases.NOVA):
        self.patch(
            metadata,
            'distributions',
            lambda name: [packages.Distribution(version)],
        )
        return releases.find(supported)

    def test_releases_of_openstack_are_compared_by_their_series(self):
        for version, state in (
            ('31.0.0', State.TESTED),
            ('31.0.0.0rc1', State.TESTED),
            ('32.1.0.dev7', State.TESTED),
            ('34.9.9', State.TESTED),
            ('30.9.9', State.TOO_OLD),
            ('9.0.0', State.TOO_OLD),
            ('35.0.0', State.NEWER),
            ('100.0', State.NEWER),
            ('0.0.0', State.UNKNOWN),
            ('0.0.1.dev3', State.UNKNOWN),
            ('unknown', State.UNKNOWN),
            ('', State.UNKNOWN),
            # Of damaged metadata.
            (None, State.UNKNOWN),
        ):
            found = self.find(version)
            self.assertEqual(
                (version or 'unknown', state),
                (found.version, found.state),
                version,
            )
            self.assertEqual(f'nova {version or "unknown"}', str(found))

    def test_pypowervm_has_a_lowest_patch_release(self):
        for version, state in (
            ('1.1.26', State.TOO_OLD),
            ('1.1.27', State.TESTED),
            ('1.1.99', State.TESTED),
            ('1.2.0', State.NEWER),
            ('2.0', State.NEWER),
        ):
            found = self.find(version, releases.PYPOWERVM)
            self.assertIs(state, found.state, version)

    def test_what_is_not_installed_is_not_found(self):
        absent = dataclasses.replace(releases.NOVA, distribution='no-such')
        self.assertIsNone(releases.find(absent))

    def test_messages_name_the_releases_of_openstack(self):
        self.assertEqual(
            'nova 31 (OpenStack 2025.1) to 34 (OpenStack 2026.2)',
            str(releases.NOVA),
        )
        self.assertEqual('pypowervm 1.1.27 to 1.1.x', str(releases.PYPOWERVM))

    @base.generated
    @hypothesis.given(
        strategies.integers(0, 99),
        strategies.integers(0, 99),
        strategies.sampled_from(['', 'rc1', '.dev5', '+deb1']),
    )
    def test_only_the_first_number_of_nova_counts(self, major, minor, suffix):
        state = self.find(f'{major}.{minor}.1{suffix}').state
        self.assertEqual(
            State.UNKNOWN
            if major == 0
            else State.TOO_OLD
            if major < 31
            else State.TESTED
            if major <= 34
            else State.NEWER,
            state,
        )


class BelowBoundsTest(base.TestCase):
    def check(self, *lines):
        self.patch(metadata, 'requires', lambda name: list(lines))
        return releases.below_bounds()

    def setUp(self):
        super().setUp()
        found = {'pbr': '7.0', 'nova': '31.0', 'cliff': '4.9.1'}

        self.patch(
            metadata,
            'distributions',
            lambda name: (
                [packages.Distribution(found[name])] if name in found else []
            ),
        )

    def test_libraries_below_their_bounds_are_found(self):
        self.assertEqual(
            ['cliff 4.9.1 is not >=4.9.2', 'lxml is not installed'],
            self.check('pbr>=6.1.1', 'cliff>=4.9.2', 'lxml>=5'),
        )

    def test_markers_and_extras_are_obeyed(self):
        self.assertEqual(
            ['cliff 4.9.1 is not >=5', 'nova 31.0 is not >=32'],
            self.check(
                'pbr>=9; python_version < "3"',
                'cliff>=9; extra == "test"',
                'nova>=32; extra == "nova"',
                'absent>=1; extra == "nova"',
                'cliff>=5; extra == "prometheus"',
                'pbr>=6',
            ),
        )

    def test_development_versions_are_compared_too(self):
        self.patch(
            metadata,
            'distributions',
            lambda name: [packages.Distribution('5.0.0.dev3')],
        )
        self.assertEqual([], self.check('cliff>=4.9.2'))

    def test_invalid_versions_are_out_of_bounds(self):
        for version in (None, '', 'garbage'):
            self.patch(
                metadata,
                'distributions',
                lambda name, found=version: [packages.Distribution(found)],
            )
            self.assertEqual(
                [f'cliff {version or "unknown"} is not >=4.9.2'],
                self.check('cliff>=4.9.2'),
            )

    def test_an_installation_without_metadata_is_not_compared(self):
        def requires(name):
            raise metadata.PackageNotFoundError(name)

        self.patch(metadata, 'requires', requires)
        self.assertEqual([], releases.below_bounds())


class DamagedMetadataTest(base.TestCase):
    def install(self, content, number, site='site'):
        site = pathlib.Path(self.path(site))
        place = site / f'nova-{number}.dist-info'
        place.mkdir(parents=True)
        (place / 'METADATA').write_bytes(content)
        if str(site) not in sys.path:
            self.patch(sys, 'path', [str(site), *sys.path])

    def bounds(self, line):
        self.patch(metadata, 'requires', lambda name: [line])
        return releases.below_bounds()

    def test_a_file_that_cannot_be_read_is_no_version(self):
        for number, content in enumerate(
            (
                b'Name: nova\nVersion: \xff\xfe\n',
                b'Name: nova\nVersion: ' + b'9' * 5000,
                b'Name: nova\n',
                b'',
            )
        ):
            self.install(content, '1', f'site{number}')
            found = releases.find(releases.NOVA)
            self.assertIs(State.UNKNOWN, found.state, content[:20])
            self.assertEqual(
                [f'nova {found.version} is not >=1'], self.bounds('nova>=1')
            )

    def test_two_releases_in_one_directory_are_no_release(self):
        for number in ('31.0', '34.0'):
            self.install(f'Name: nova\nVersion: {number}\n'.encode(), number)
        found = releases.find(releases.NOVA)
        self.assertIs(State.UNKNOWN, found.state)
        self.assertEqual('nova 31.0 or 34.0', str(found))

    def test_an_invalid_requirement_is_reported(self):
        self.patch(metadata, 'requires', lambda name: ['lxml >= = 5'])
        self.assertEqual(
            ['"lxml >= = 5" is not a requirement'], releases.below_bounds()
        )

    def test_requirements_that_cannot_be_read_are_reported(self):
        def requires(name):
            raise UnicodeDecodeError('utf-8', b'', 0, 1, 'why')

        self.patch(metadata, 'requires', requires)
        (found,) = releases.below_bounds()
        self.assertIn('cannot be read', found)


class OwnBoundsTest(base.TestCase):
    def test_this_environment_satisfies_the_requirements(self):
        self.assertEqual([], releases.below_bounds())
