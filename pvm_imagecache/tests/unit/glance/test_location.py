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

"""Where Glance is, according to the options and to a service catalog."""

import types

from keystoneauth1.access import service_catalog

from pvm_imagecache.glance import location
from pvm_imagecache.tests.unit import base


def options(**values):
    """The options of [glance]."""
    defaults = {
        'api_servers': [],
        'endpoint_override': None,
        'region_name': None,
        'valid_interfaces': None,
        'service_type': None,
        'service_name': None,
    }
    return types.SimpleNamespace(**defaults | values)


def catalog(*endpoints, kind='image'):
    """A catalog of Keystone; an endpoint is region, interface and address."""
    return service_catalog.ServiceCatalogV3(
        [
            {
                'type': kind,
                'name': 'glance',
                'id': 's',
                'endpoints': [
                    {
                        'id': url,
                        'region_id': region,
                        'region': region,
                        'interface': interface,
                        'url': url,
                    }
                    for region, interface, url in endpoints
                ],
            }
        ]
    )


def catalog_of_nova(**regions):
    """The catalog that nova has in its request contexts."""
    return service_catalog.ServiceCatalogV2(
        [
            {
                'type': 'image',
                'name': 'glance',
                'endpoints': [
                    {'region': region, 'publicURL': url, 'internalURL': url}
                    for region, url in regions.items()
                ],
            }
        ]
    )


class FromOptionsTest(base.TestCase):
    def test_the_order_of_interfaces_is_that_of_nova(self):
        for unset in (None, []):
            found = location.from_options(options(valid_interfaces=unset))
            self.assertEqual(('internal', 'public'), tuple(found.interfaces))

    def test_servers_precede_the_override(self):
        found = location.from_options(
            options(api_servers=['a', 'b'], endpoint_override='c')
        )
        self.assertEqual(['a', 'b'], found.servers)
        found = location.from_options(options(endpoint_override='c'))
        self.assertEqual(['c'], found.servers)

    def test_each_option_precedes_the_choice_of_the_user(self):
        user = location.Location(('u',), 'R1', ('admin',), 'image2', 'name')
        self.assertEqual(user, location.from_options(options(), user))
        self.assertEqual(
            location.Location(['c'], 'R2', ['public'], 'image', 'other'),
            location.from_options(
                options(
                    endpoint_override='c',
                    region_name='R2',
                    valid_interfaces=['public'],
                    service_type='image',
                    service_name='other',
                ),
                user,
            ),
        )


class AmbiguousTest(base.TestCase):
    WHERE = location.from_options(options())

    def test_one_region_is_clear(self):
        self.assertFalse(
            location.is_ambiguous(
                self.WHERE,
                catalog(('R1', 'public', 'http://a'), ('R1', 'internal', 'b')),
            )
        )

    def test_two_regions_with_two_addresses_are_not(self):
        found = catalog(
            ('R1', 'internal', 'http://a'), ('R2', 'internal', 'http://b')
        )
        self.assertTrue(location.is_ambiguous(self.WHERE, found))
        for where in (
            location.from_options(options(region_name='R1')),
            location.from_options(options(endpoint_override='http://c')),
        ):
            self.assertFalse(location.is_ambiguous(where, found))

    def test_two_regions_may_share_an_address(self):
        self.assertFalse(
            location.is_ambiguous(
                self.WHERE,
                catalog(
                    ('R1', 'internal', 'http://a/v2'),
                    ('R2', 'internal', 'http://a/'),
                ),
            )
        )

    def test_only_the_interface_that_is_used_counts(self):
        self.assertFalse(
            location.is_ambiguous(
                self.WHERE,
                catalog(
                    ('R1', 'internal', 'http://a'),
                    ('R2', 'public', 'http://b'),
                ),
            )
        )


class MissingTest(base.TestCase):
    def _missing(self, found, **values):
        return location.missing(
            location.from_options(options(**values)), found
        )

    def test_a_wrong_region_is_named_with_those_of_the_catalog(self):
        for found in (
            catalog(
                ('one', 'internal', 'http://a'),
                ('one', 'public', 'http://a'),
                ('two', 'internal', 'http://b'),
                ('two', 'public', 'http://b'),
            ),
            catalog_of_nova(two='http://b', one='http://a'),
        ):
            self.assertEqual(
                'no address of the image service for the interface internal '
                'or public in region "three"; it has one (internal, public), '
                'two (internal, public)',
                self._missing(found, region_name='three'),
            )

    def test_a_wrong_interface_is_named(self):
        self.assertEqual(
            'no address of the image service for the interface admin; it has '
            'one (public)',
            self._missing(
                catalog(('one', 'public', 'http://a')),
                valid_interfaces=['admin'],
            ),
        )

    def test_a_wrong_name_is_named(self):
        self.assertIn(
            'with the name "x"',
            self._missing(
                catalog(('one', 'public', 'http://a')), service_name='x'
            ),
        )

    def test_a_catalog_without_the_service_is_named_so(self):
        self.assertIn(
            'it has no such service',
            self._missing(catalog(('one', 'public', 'u'), kind='compute')),
        )

    def test_an_empty_catalog_belongs_to_a_token_without_project(self):
        self.assertIn(
            'the token is not for a project',
            self._missing(service_catalog.ServiceCatalogV3([])),
        )

    def test_the_catalog_may_be_unknown(self):
        self.assertEqual(
            'no address of the image service for the interface internal or '
            'public',
            self._missing(None),
        )


class MalformedCatalogTest(base.TestCase):
    def test_values_of_any_type_are_shown(self):
        where = location.from_options(options())
        for value in ([], ['x'], {'a': 1}, 7, True, 'é\n'):
            found = catalog(
                (value, 'public', 'http://a'), ('R1', value, 'http://b')
            )
            reason = location.missing(where, found)
            self.assertIn('R1', reason)
            self.assertIn('public', reason)
