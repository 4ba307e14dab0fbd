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
"""Tests of hashes and signatures beside a transfer."""

import hashlib

from pvm_imagecache import exceptions
from pvm_imagecache.glance import hashing
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

PIECES = [bytes([number]) * 1000 for number in range(50)]
CONTENT = b''.join(PIECES)


class HasherTest(base.TestCase):
    def made(self, algorithm, verifier=None):
        hasher = hashing.Hasher(algorithm, verifier)
        self.addCleanup(hasher.stop)
        for piece in PIECES:
            hasher.update(piece)
        return hasher

    def test_hash_and_verifier_get_the_same_bytes(self):
        verifier = fakes.Verifier(CONTENT)
        hasher = self.made('sha512', verifier)
        self.assertEqual(
            hashlib.sha512(CONTENT).hexdigest(), hasher.hexdigest()
        )
        hasher.verify()
        self.assert_bytes(CONTENT, bytes(verifier.taken))

    def test_verifier_alone_gets_all_bytes(self):
        hasher = self.made(None, fakes.Verifier(CONTENT))
        hasher.verify()
        self.assertIsNone(hasher.hexdigest())

    def test_wrong_signature_is_raised(self):
        for algorithm in (None, 'md5'):
            hasher = self.made(algorithm, fakes.Verifier(CONTENT[1:]))
            self.assertRaises(exceptions.ImageSignatureInvalid, hasher.verify)

    def test_error_of_the_verifier_is_raised_and_blocks_nothing(self):
        verifier = fakes.Verifier(CONTENT)
        verifier.fails_with = ValueError('broken')
        hasher = self.made('md5', verifier)
        self.assertIs(
            verifier.fails_with, self.assertRaises(ValueError, hasher.verify)
        )
        self.assertEqual(0, verifier.verified)

    def test_without_hash_and_verifier_nothing_is_computed(self):
        hasher = self.made(None)
        hasher.verify()
        self.assertIsNone(hasher.hexdigest())

    def test_it_can_be_stopped_at_any_time(self):
        hasher = self.made('md5', fakes.Verifier(CONTENT))
        hasher.stop()
        hasher.stop()
