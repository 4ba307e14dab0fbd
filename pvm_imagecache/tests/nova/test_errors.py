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

from oslotest import base

from nova import exception
from pvm_imagecache import exceptions
from pvm_imagecache.virt import errors


class ErrorsTestCase(base.BaseTestCase):
    def test_errors_are_translated_for_nova(self) -> None:
        unsafe = exceptions.ImageUnsafe(
            image='i', format='qcow2', reason='no luck'
        )
        for ours, kind, words in (
            (
                exceptions.DiskTooSmall(size='1', image='i', needed='2'),
                exception.FlavorDiskTooSmall,
                'too small for image i',
            ),
            (
                exceptions.ImageNotFound(image='i'),
                exception.ImageNotFound,
                'i could not be found',
            ),
            (
                exceptions.ImageNotActive(image='i', status='queued'),
                exception.ImageNotActive,
                'i is not active',
            ),
            (unsafe, exception.ImageUnacceptable, 'no luck'),
            (
                exceptions.ImageNotBootable(image='i', reason='no luck'),
                exception.ImageUnacceptable,
                'cannot boot on PowerVM: no luck',
            ),
            (
                exceptions.ImageSignatureInvalid(image='i', reason='wrong'),
                exception.ImageUnacceptable,
                'Signature of image i refused: wrong',
            ),
            # Another host may get other data, or reach the key manager.
            (
                exceptions.ImageCorrupt(
                    image='i', algorithm='md5', expected='a', actual='b'
                ),
                exception.InstanceDeployFailure,
                'corrupt',
            ),
            (
                exceptions.ImageFetchFailed(image='i', reason='corrupt'),
                exception.InstanceDeployFailure,
                'fetched it twice',
            ),
            (
                exceptions.KeyManagerFailed(
                    image='i', certificate='c', reason='timed out'
                ),
                exception.InstanceDeployFailure,
                'did not give certificate c: timed out',
            ),
            (
                exceptions.NotEnoughSpace(
                    pool='vg', free='1', needed='2', what='d'
                ),
                exception.InstanceDeployFailure,
                'vg has 1 free',
            ),
        ):
            found = errors.as_nova(ours, 'i')
            self.assertIs(kind, type(found))
            self.assertIn(words, found.format_message())
