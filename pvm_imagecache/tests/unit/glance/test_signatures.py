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
"""Tests of the rules of when a signature is required."""

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.glance import signatures
from pvm_imagecache.tests.unit import base

IMAGE = base.image_of(b'content')


class WithoutKeyManagerTest(base.TestCase):
    """A program that cannot verify signatures."""

    def requirement(self, image, trusted=(), **options):
        conf = self.make_conf()
        requirement_for = signatures.without_key_manager(conf)
        for name, value in options.items():
            conf.set_override(name, value, 'glance')
        return requirement_for(image, None, trusted)

    def test_nothing_is_required_by_default(self):
        self.assertIsNone(self.requirement(IMAGE))
        self.assertIsNone(
            self.requirement(IMAGE, enable_certificate_validation=True)
        )
        self.assertIsNone(
            self.requirement(IMAGE, default_trusted_certificate_ids=['a'])
        )

    def test_signatures_are_required_as_nova_requires_them(self):
        for trusted, options in (
            ((), {'verify_glance_signatures': True}),
            (
                (),
                {
                    'enable_certificate_validation': True,
                    'default_trusted_certificate_ids': ['a'],
                },
            ),
            (('a',), {}),
        ):
            self.assertRaises(
                exceptions.ImageSignatureInvalid,
                self.requirement,
                IMAGE,
                trusted,
                **options,
            )
            made = self.requirement(base.signed(IMAGE), trusted, **options)
            # Only what nova has verified can be used.
            error = self.assertRaises(
                exceptions.ImageNotVerifiable, made.verifier
            )
            self.assertIn('openstack aggregate cache image', str(error))

    def test_missing_properties_are_named(self):
        error = self.assertRaises(
            exceptions.ImageSignatureInvalid,
            self.requirement,
            base.image_of(
                b'x',
                signature=image_module.Signature('s', '', 'RSA-PSS', None),
            ),
            verify_glance_signatures=True,
        )
        self.assertIn(
            'has no img_signature_hash_method and no '
            'img_signature_certificate_uuid.',
            str(error),
        )
        self.assertIn('an image (3e865d14)', str(error))


class TrustedTest(base.TestCase):
    def trusted(self, ids, **options):
        conf = self.make_conf()
        signatures.without_key_manager(conf)
        for name, value in options.items():
            conf.set_override(name, value, 'glance')
        return signatures.trusted_for(conf, ids)

    def test_certificates_of_the_server_precede_the_default_ones(self):
        defaults = {'default_trusted_certificate_ids': ['d']}
        self.assertEqual([], self.trusted((), **defaults))
        defaults['enable_certificate_validation'] = True
        self.assertEqual(['d'], self.trusted((), **defaults))
        self.assertEqual(['a', 'b'], self.trusted(('a', 'b'), **defaults))
        self.assertEqual(['a'], self.trusted(('a',)))


class NoneRequiredTest(base.TestCase):
    def test_nothing_is_required(self):
        self.assertIsNone(signatures.none_required(IMAGE, None, ('a',)))
