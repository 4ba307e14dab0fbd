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
"""Tests of the requirement that data has a valid signature."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import prefetch
from pvm_imagecache.deploy import steps
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS


class VerificationTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.image = base.signed(self.image)

    def test_nothing_is_verified_unless_required(self):
        self.check(self.deploy(), MISS)
        self.assertEqual([], self.signatures.verifiers)
        self.assertIsNone(self.record().verified_signature)
        self.check(self.deploy('second'), HIT)

    def test_verified_base_image_is_served(self):
        self.signatures.required = True
        self.check(self.deploy(), MISS)
        (verifier,) = self.signatures.verifiers
        self.assert_bytes(self.content, bytes(verifier.taken))
        self.assertEqual(
            self.image.signature.fingerprint, self.record().verified_signature
        )
        self.check(self.deploy('second'), HIT)
        # Each deploy asks whether the certificate is accepted now.
        self.assertEqual(2, len(self.signatures.asked))

    def test_unverified_base_image_is_replaced_and_then_served(self):
        self.check(self.deploy(), MISS)
        before = self.record()
        self.signatures.required = True
        self.check(self.deploy('second'), MISS)
        self.assertNotEqual(before.udid, self.record().udid)
        self.check_cached()
        self.check(self.deploy('third'), HIT)
        self.assertEqual(
            ['disk', self.base_name, 'second', 'third'], self.driver.names()
        )

    def test_verified_base_image_serves_deploys_without_requirement(self):
        self.signatures.required = True
        self.deploy()
        self.signatures.required = False
        self.check(self.deploy('second'), HIT)

    def test_new_signature_of_the_same_data_is_verified(self):
        self.signatures.required = True
        self.deploy()
        self.image = base.signed(self.image, 'another')
        self.check(self.deploy('second'), MISS)
        self.check(self.deploy('third'), HIT)
        self.assertEqual(2, len(self.signatures.verifiers))

    def test_any_changed_property_of_the_signature_counts(self):
        self.signatures.required = True
        self.deploy()
        for each in dataclasses.fields(image_module.Signature):
            self.image = dataclasses.replace(
                self.image,
                signature=dataclasses.replace(
                    self.image.signature, **{each.name: 'changed'}
                ),
            )
            self.check(self.deploy(f'of_{each.name}'), MISS)

    def test_unsigned_image_is_refused_before_anything_happens(self):
        self.signatures.required = True
        self.image = dataclasses.replace(
            self.image, signature=image_module.Signature()
        )
        for attempt in (self.deploy, self.prefetch):
            error = self.assertRaises(
                exceptions.ImageSignatureInvalid, attempt
            )
            self.assertIn('img_signature', str(error))
        self.assertEqual([], self.source.opened)
        self.assertEqual([], self.driver.calls)
        self.check_nothing_left()

    def test_wrong_signature_leaves_nothing(self):
        self.signatures = fakes.Signatures(b'other data')
        for attempt in (self.deploy, self.prefetch):
            self.assertRaises(exceptions.ImageSignatureInvalid, attempt)
            self.check_nothing_left()
        self.assertEqual(2, len(self.source.opened))

    def test_wrong_signature_removes_the_unverified_base_image(self):
        self.deploy()
        self.signatures = fakes.Signatures(b'other data')
        self.assertRaises(
            exceptions.ImageSignatureInvalid, self.deploy, 'second'
        )
        self.check_not_cached('disk')

    def test_base_image_stays_if_the_requester_may_not_download(self):
        def refuse(*args):
            raise exceptions.ImageForbidden(image=self.image.id)

        self.deploy()
        self.signatures.required = True
        self.patch(self.source, 'check_readable', refuse)
        context = object()
        for attempt in (
            instance_disk.InstanceDeploy(
                self.cache, self.image, 'second', 0, context, None, ()
            ),
            prefetch.Prefetch(self.cache, self.image, context, None),
        ):
            self.assertRaises(exceptions.ImageForbidden, attempt.run)
            self.check_cached()
        self.assertEqual(1, len(self.source.opened))

    def test_base_image_stays_where_nothing_can_be_verified(self):
        def unable():
            raise exceptions.ImageNotVerifiable(image=self.image.id)

        self.deploy()
        self.signatures.required = True
        self.signatures.verifier = unable
        for attempt in (lambda: self.deploy('second'), self.prefetch):
            self.assertRaises(exceptions.ImageNotVerifiable, attempt)
            self.check_cached()
        self.assertEqual(1, len(self.source.opened))

    def test_committed_record_says_what_was_verified(self):
        self.signatures.required = True
        verification = self.verification()
        measured = steps.Steps(self.size, None)
        fill = base_image.BaseImageFill(
            self.cache,
            self.image,
            measured,
            new_disks.NewDisks(self.cache, measured),
            verification,
        )
        with fill.claim(lambda: None):
            fill.create(self.image)
            with self.source.open(
                self.image, None, verification.verifier()
            ) as stream:
                self.assertEqual([None], fill.write(stream))
            committed = fill.commit(self.image)
        self.assertEqual(
            self.record().verified_signature, committed.verified_signature
        )
        self.assertEqual(
            verification.fingerprint, committed.verified_signature
        )

    def test_bypass_is_verified(self):
        self.signatures.required = True
        self.catalog.broken = {'base_images.get'}
        self.check(self.deploy(), BYPASS)
        self.assertEqual(1, self.signatures.verifiers[-1].verified)
        self.signatures.content = b'other data'
        self.assertRaises(
            exceptions.ImageSignatureInvalid, self.deploy, 'second'
        )
        self.assertEqual(['disk'], self.driver.names())

    def test_trust_of_one_deploy_does_not_extend_to_others(self):
        self.check(self.deploy('a', trusted=['root']), MISS)
        self.assertRaises(
            exceptions.ImageSignatureInvalid,
            self.deploy,
            'b',
            trusted=['other'],
        )
        self.check(self.deploy('c', trusted=['other', 'root']), HIT)
        self.check(self.deploy('d'), HIT)

    def test_trusted_certificates_require_a_verified_base_image(self):
        self.check(self.deploy('a'), MISS)
        self.check(self.deploy('b', trusted=['root']), MISS)
        self.check(self.deploy('c', trusted=['root']), HIT)

    def test_concurrent_deploys_of_different_trust(self):
        def refused():
            self.assertRaises(
                exceptions.ImageSignatureInvalid,
                self.deploy,
                'refused',
                trusted=['other'],
            )

        self.in_threads(
            lambda: self.deploy('a', trusted=['root']),
            refused,
            lambda: self.deploy('b', trusted=['root']),
            lambda: self.deploy('c'),
        )
        self.assertEqual(['a', 'b', 'c', self.base_name], self.driver.names())
        for name in 'abc':
            self.assert_bytes(self.content, self.driver.content(name))
        self.assertLessEqual(len(self.source.opened), 2)

    def test_base_image_that_is_replaced_while_it_is_copied_is_safe(self):
        self.deploy('a')
        taken = []

        def replace(*_):
            if not taken:
                taken.append(1)
                self.deploy('b', trusted=['root'])

        self.driver.before['copy_disk'] = replace
        done = self.deploy('c')
        self.assert_bytes(
            self.content, self.driver.content(done.disk.name, self.size)
        )
        self.check(self.deploy('d', trusted=['root']), HIT)

    def test_prefetch_verifies_and_replaces(self):
        self.assertTrue(self.prefetch().fetched)
        self.signatures.required = True
        self.assertTrue(self.prefetch().fetched)
        self.assertFalse(self.prefetch().fetched)
        self.assertEqual(1, len(self.signatures.verifiers))
        self.check(self.deploy(), HIT)

    def test_adopted_disk_is_not_served(self):
        disk = self.driver.add(self.base_name, content=self.content)
        self.catalog.base_images.adopt(
            'pool', self.base_name, self.image, disk.udid, disk.capacity
        )
        self.signatures.required = True
        self.check(self.deploy(), MISS)

    def test_mapped_base_image_is_bypassed_with_verified_data(self):
        self.deploy()
        self.signatures.required = True
        self.driver.taken.add(self.base_name)
        self.check(self.deploy('second'), BYPASS)
        self.assertEqual(1, self.signatures.verifiers[-1].verified)


class PoolTest(base.CacheTestCase):
    """Pools that keep images themselves."""

    def setUp(self):
        super().setUp()
        self.driver = fakes.FakePool()
        self.image = base.signed(self.image)

    def test_pool_that_knows_nothing_of_signatures_is_refused(self):
        self.deploy()
        self.signatures.required = True
        self.assertRaises(
            exceptions.ImageSignatureInvalid, self.deploy, 'second'
        )
        self.assertEqual(['disk'], self.driver.names())

    def test_verified_images_are_kept_apart(self):
        self.driver.capabilities |= {driver_base.Capability.SIGNED_IMAGES}
        self.assertEqual(self.size, self.deploy('a').bytes_fetched)
        self.signatures.required = True
        self.assertEqual(self.size, self.deploy('b').bytes_fetched)
        self.assertEqual(0, self.deploy('c').bytes_fetched)
        self.signatures.required = False
        self.assertEqual(0, self.deploy('d').bytes_fetched)

    def test_wrong_signature_is_refused(self):
        self.driver.capabilities |= {driver_base.Capability.SIGNED_IMAGES}
        self.signatures = fakes.Signatures(images.raw_bytes(3))
        self.assertRaises(exceptions.ImageSignatureInvalid, self.deploy)
        self.assertEqual([], self.driver.names())
