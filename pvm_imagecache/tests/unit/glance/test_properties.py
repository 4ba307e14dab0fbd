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
"""Tests of properties of images that cannot boot as they are."""

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.glance import properties
from pvm_imagecache.tests.unit import base

ENCRYPTED = (
    'cinder_encryption_key_id',
    'os_encrypt_key_id',
    'os_encrypt_format',
    'os_encrypt_cipher',
    'os_encrypt_type',
    'hw_ephemeral_encryption_secret_uuid',
)


def image(**values):
    return {'id': base.IMAGE_ID, 'name': 'an image', 'size': 1} | values


class PropertiesTest(base.TestCase):
    def refused(self, **values):
        error = self.assertRaises(
            exceptions.ImageNotBootable, properties.check, image(**values)
        )
        self.assertFalse(error.transient)
        self.assertIn('Image an image (3e865d14) cannot boot', str(error))
        return str(error)

    def test_encrypted_data_is_refused(self):
        for name in ENCRYPTED:
            message = self.refused(**{name: 'x'})
            self.assertIn(f'encrypted (property {name})', message)
            properties.check(image(**{name: ''}))

    def test_snapshots_without_data_are_refused(self):
        for size in (0, None):
            self.assertIn(
                'snapshot of a server that boots from a volume',
                self.refused(
                    size=size, block_device_mapping='[{"boot_index": 0}]'
                ),
            )
            properties.check(image(size=size, block_device_mapping='[]'))
        # There is data to boot from.
        properties.check(image(block_device_mapping='[{"boot_index": 0}]'))

    def test_other_architectures_are_refused(self):
        for name in ('hw_architecture', 'architecture'):
            for value in ('x86_64', 'aarch64', 's390x', ' AMD64 '):
                self.assertIn(name, self.refused(**{name: value}))

    def test_architectures_that_may_be_power_are_accepted(self):
        for value in (
            'ppc64',
            'ppc64le',
            'PPC64LE',
            'ppc64el',
            'powerpc',
            'power',
            'noarch',
            '',
            None,
        ):
            properties.check(image(architecture=value, hw_architecture=value))

    def test_other_properties_are_accepted(self):
        properties.check(
            image(
                hypervisor_type='powervm',
                os_type='aix',
                kernel_id='k',
                hw_ephemeral_encryption='false',
            )
        )

    def test_the_signature_is_kept_as_it_is(self):
        self.assertEqual(
            image_module.Signature(), properties.signature(image())
        )
        self.assertEqual(
            image_module.Signature('s', 'SHA-256', 'RSA-PSS', 'c'),
            properties.signature(
                image(
                    img_signature='s',
                    img_signature_hash_method='SHA-256',
                    img_signature_key_type='RSA-PSS',
                    img_signature_certificate_uuid='c',
                )
            ),
        )


class MetadataTest(base.TestCase):
    def test_what_policies_can_know_is_found(self):
        found = properties.metadata(
            {
                'id': 'x',
                'name': 'debian',
                'owner': 'ops',
                'tags': ['b', 'a', 'a', 7, ''],
                'os_distro': 'aix',
                'min_disk': 3,
                'long': 'x' * 256,
                'direct_url': 'file:///secret',
                'none': None,
            }
        )
        self.assertEqual(
            image_module.Metadata('ops', ('a', 'b'), (('os_distro', 'aix'),)),
            found,
        )
        self.assertEqual((), found.with_properties(('os', 'name')).properties)
        self.assertEqual(
            found.properties,
            found.with_properties(('os_distro',)).properties,
        )

    def test_malformed_values_are_left_out(self):
        self.assertEqual(
            image_module.Metadata(),
            properties.metadata({'owner': 3, 'tags': {'a': 'b'}, 'x': ['y']}),
        )
