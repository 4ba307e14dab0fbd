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
"""Signatures of images: the options of nova and the servers' own trust.

Signatures, certificates, cursive, Glance and PowerVM's API are real; the key
manager is a backend of castellan in memory.
"""

from importlib import metadata
from typing import Any

from castellan.common import exception as castellan_exception

from nova import context as nova_context
from pvm_imagecache import exceptions
from pvm_imagecache.tests import images
from pvm_imagecache.tests.nova import base
from pvm_imagecache.tests.nova import signing

SIZE = 3 * base.MIB + 1


class SignaturesTestCase(base.NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        signing.KeyManager.reset()
        self.flags(
            backend=f'{signing.__name__}.KeyManager', group='key_manager'
        )
        self.root = signing.Signer('root')
        self.signer = signing.Signer('signer', self.root)

    def glance_options(self, **values: Any) -> None:
        self.flags(group='glance', **values)

    def sign(self, image_id: str, properties: dict[str, str]) -> str:
        """Give an image a signature; return its ID.

        Glance would verify it during the upload, with its own key manager.
        """
        self.server.client().images.update(image_id, **properties)
        return image_id

    def store_signed(self, seed: int = 0, **properties: Any) -> str:
        """Store a signed image, with some other properties."""
        signed = self.signer.properties(images.raw_bytes(SIZE, seed))
        return self.sign(self.store(SIZE, seed), {**signed, **properties})

    def boot_fails(self, image_id: str, **kwargs: Any) -> str:
        """Return the fault of a server that cannot be built."""
        server = self.boot(image_id, expected_state='ERROR', **kwargs)
        self.assertIsNone(server['OS-EXT-SRV-ATTR:host'])
        self.assert_nothing_left()
        message = self.api.get_server(server['id'])['fault']['message']
        self.api.delete_server(server['id'])
        self._wait_until_deleted(server)
        return str(message)

    def delete(self, server: dict[str, Any]) -> None:
        self._delete_server(server)

    def verified(self) -> list[bool]:
        """Of each base image, whether its signature was verified."""
        pool = self.compute.driver.image_cache.driver.pool_id()
        return [
            each.verified_signature is not None
            for each in self.catalog.base_images.list(pool)
        ]


class VerifyingTestCase(SignaturesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance_options(verify_glance_signatures=True)

    def test_signed_images_boot_and_are_cached(self) -> None:
        image_id = self.store_signed()
        first = self.boot(image_id)
        self.assert_boots_from(first, image_id)
        self.assertEqual([True], self.verified())
        self.fetched()
        second = self.boot(image_id)
        self.assert_boots_from(second, image_id)
        self.assertEqual(1, self.fetched())

    def test_the_key_manager_gets_the_context_of_the_user(self) -> None:
        server = self.boot(self.store_signed())
        self.assertEqual(
            {(server['user_id'], self.signer.id)},
            set(signing.KeyManager.requests),
        )

    def test_unsigned_images_do_not_boot(self) -> None:
        for image_id in (
            self.store(SIZE),
            self.store_signed(img_signature=''),
        ):
            message = self.boot_fails(image_id)
            self.assertIn('is unacceptable', message)
            self.assertIn('img_signature', message)
        self.assertEqual(0, self.fetched())
        self.assertEqual(set(), self.disks().keys())

    def test_wrongly_signed_images_do_not_boot(self) -> None:
        other = self.signer.properties(images.raw_bytes(SIZE, seed=9))
        message = self.boot_fails(self.sign(self.store(SIZE), other))
        self.assertIn('refused: it is not that of the data.', message)
        self.assertEqual(set(), self.disks().keys())
        self.assertEqual([], self.verified())

    def test_signatures_with_another_certificate_do_not_boot(self) -> None:
        other = signing.Signer('other', self.root)
        message = self.boot_fails(
            self.store_signed(img_signature_certificate_uuid=other.id)
        )
        self.assertIn('it is not that of the data', message)

    def test_invalid_properties_are_named(self) -> None:
        for properties, expected in (
            ({'img_signature_key_type': 'DSA'}, 'Invalid public key type'),
            (
                {
                    'img_signature_certificate_uuid': (
                        '11111111-2222-3333-4444-555555555555'
                    )
                },
                'Certificate not found',
            ),
        ):
            message = self.boot_fails(self.store_signed(**properties))
            self.assertIn(expected, message)
        self.assertEqual(0, self.fetched())

    def test_data_replaced_after_signing_does_not_boot(self) -> None:
        image_id = self.store_signed()
        self.server.replace_data(image_id, images.raw_bytes(SIZE, seed=5))
        self.assertIn('it is not that of the data', self.boot_fails(image_id))

    def test_a_failing_key_manager_lets_nova_try_another_host(self) -> None:
        image_id = self.store_signed()
        signing.KeyManager.failure = ConnectionError('Connection refused')
        context = nova_context.RequestContext('user', 'project')
        driver = self.compute.driver
        error = self.assertRaises(
            exceptions.KeyManagerFailed,
            driver.image_cache.create_disk,
            driver.image_source.get(image_id, context),
            'disk',
            context=context,
        )
        self.assertIn('connection refused. Check', str(error))
        signing.KeyManager.failure = castellan_exception.KeyManagerError(
            reason='no'
        )
        self.assertRaises(
            exceptions.ImageSignatureInvalid,
            driver.image_cache.create_disk,
            driver.image_source.get(image_id, context),
            'disk',
            context=context,
        )
        self.assertEqual({}, self.disks())

    def test_precaching_verifies(self) -> None:
        good = self.store_signed()
        unsigned = self.store(SIZE, seed=1)
        wrong = self.store_signed(2, img_signature='AAAA')
        context = nova_context.RequestContext('user', 'project')
        self.assertEqual(
            {good: 'cached', unsigned: 'error', wrong: 'error'},
            self.compute.manager.cache_images(
                context, [good, unsigned, wrong]
            ),
        )
        self.assertEqual([True], self.verified())
        self.fetched()
        self.assert_boots_from(self.boot(good), good)
        self.assertEqual(1, self.fetched())


class CachedBeforeTestCase(SignaturesTestCase):
    """Base images that were cached while nothing was verified."""

    def test_an_unverified_base_image_is_replaced(self) -> None:
        image_id = self.store_signed()
        self.boot(image_id)
        self.assertEqual([False], self.verified())
        self.glance_options(verify_glance_signatures=True)
        self.fetched()
        self.assert_boots_from(self.boot(image_id), image_id)
        self.assertLessEqual(SIZE, self.fetched())
        self.assertEqual([True], self.verified())
        self.assert_boots_from(self.boot(image_id), image_id)
        self.assertEqual(1, self.fetched())

    def test_an_unsigned_base_image_is_not_served(self) -> None:
        image_id = self.store(SIZE)
        server = self.boot(image_id)
        self.delete(server)
        self.glance_options(verify_glance_signatures=True)
        self.boot_fails(image_id)

    def test_precaching_replaces_an_unverified_base_image(self) -> None:
        image_id = self.store_signed()
        context = nova_context.RequestContext('user', 'project')
        cache = self.compute.driver.cache_image
        self.assertTrue(cache(context, image_id))
        self.glance_options(verify_glance_signatures=True)
        self.assertTrue(cache(context, image_id))
        self.assertFalse(cache(context, image_id))
        self.assertEqual([True], self.verified())

    def test_a_changed_signature_is_verified_again(self) -> None:
        self.glance_options(verify_glance_signatures=True)
        image_id = self.store_signed()
        self.delete(self.boot(image_id))
        self.sign(image_id, self.signer.properties(b'other data'))
        self.boot_fails(image_id)


class CertificatesTestCase(SignaturesTestCase):
    """Certificates must lead to trusted ones."""

    #: IDs of the certificates that the user of a server trusts.
    _trusted: list[str] | None = None

    def validate(self, *trusted: signing.Signer) -> None:
        self.glance_options(
            verify_glance_signatures=True,
            enable_certificate_validation=True,
            default_trusted_certificate_ids=[each.id for each in trusted],
        )

    def test_default_certificates_are_trusted(self) -> None:
        self.validate(self.root)
        image_id = self.store_signed()
        self.assert_boots_from(self.boot(image_id), image_id)

    def test_other_certificates_are_not(self) -> None:
        self.validate(signing.Signer('stranger'))
        self.assertIn(
            'Certificate chain building failed',
            self.boot_fails(self.store_signed()),
        )
        self.assertEqual(0, self.fetched())

    def test_defaults_apply_without_verify_glance_signatures(self) -> None:
        # As in nova: the option verifies each image, and trusted
        # certificates do so as well.
        self.validate(signing.Signer('stranger'))
        self.glance_options(verify_glance_signatures=False)
        self.boot_fails(self.store_signed())

    def test_validation_without_certificates_is_refused(self) -> None:
        self.validate()
        message = self.boot_fails(self.store_signed())
        self.assertIn('refused: no trusted certificate is given.', message)

    def test_an_expired_certificate_is_not_accepted_at_a_hit(self) -> None:
        self.validate(self.root)
        image_id = self.store_signed()
        self.delete(self.boot(image_id))
        expired = signing.Signer('signer', self.root, days=0)
        signing.KeyManager.shared[self.signer.id] = signing.KeyManager.shared[
            expired.id
        ]
        self.assertIn('valid date range', self.boot_fails(image_id))

    def test_an_issuer_without_a_path_length_is_accepted_or_named(
        self,
    ) -> None:
        root = signing.Signer('root', path_length=None)
        self.signer = signing.Signer('signer', root)
        self.validate(root)
        image_id = self.store_signed()
        cursive = metadata.version('cursive').split('.')
        if [int(each) for each in cursive[:2]] >= [0, 3]:
            self.delete(self.boot(image_id))
        else:
            self.assertIn('requires a path length', self.boot_fails(image_id))

    def test_each_server_has_its_own_trust(self) -> None:
        stranger = signing.Signer('stranger')
        image_id = self.store_signed()
        trusting = self.boot(image_id, trusted_certs=[self.root.id])
        self.assert_boots_from(trusting, image_id)
        self.assertEqual([True], self.verified())
        self.delete(trusting)
        # The base image does not serve a server that trusts others.
        self.boot_fails(image_id, trusted_certs=[stranger.id])
        self.fetched()
        again = self.boot(image_id, trusted_certs=[self.root.id])
        self.assert_boots_from(again, image_id)
        self.assertEqual(1, self.fetched())

    def test_trust_of_a_server_requires_a_verified_base_image(self) -> None:
        unsigned = self.store(SIZE, seed=4)
        self.delete(self.boot(unsigned))
        self.boot_fails(unsigned, trusted_certs=[self.root.id])
        image_id = self.store_signed()
        self.boot(image_id)
        self.assertEqual([False, False], self.verified())
        server = self.boot(image_id, trusted_certs=[self.root.id])
        self.assert_boots_from(server, image_id)
        self.assertIn(True, self.verified())

    def _create_server(self, **kwargs: Any) -> dict[str, Any]:
        # nova's harness has no argument for trusted certificates.
        self._trusted = kwargs.pop('trusted_certs', None)
        return super()._create_server(**kwargs)

    def _build_server(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        server = super()._build_server(*args, **kwargs)
        if self._trusted:
            server['trusted_image_certificates'] = self._trusted
        return server
