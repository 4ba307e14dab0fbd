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

"""State in Glance of cached images."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import glance_state
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases


class StatesTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.source = cases.Images()
        self.image = base.image_of(b'x')

    def _state(self, found):
        self.source.images = {self.image.id: found}
        states = glance_state.states(self.source, [self.image])
        return states[self.image.id].text

    def test_an_image_with_the_same_hash_is_the_same(self):
        self.assertEqual(glance_state.SAME, self._state(self.image))
        self.assertEqual('active, same hash', glance_state.SAME)

    def test_an_image_with_another_hash_differs(self):
        self.assertEqual('different data', self._state(base.image_of(b'y')))

    def test_images_without_a_common_hash_are_not_comparable(self):
        self.assertEqual(
            'no common hash',
            self._state(
                dataclasses.replace(
                    self.image,
                    os_hash_algo=None,
                    os_hash_value=None,
                    checksum=None,
                )
            ),
        )

    def test_errors_of_an_image_are_states(self):
        for error, state in (
            (None, 'not found'),
            (
                exceptions.ImageNotActive(image='x', status='deactivated'),
                'deactivated',
            ),
            (exceptions.ImageHasNoData(image='x'), 'no data'),
            (
                exceptions.ImageFormatUnsupported(
                    image='x', kind='disk', format='iso', supported='raw'
                ),
                'different format',
            ),
        ):
            self.assertEqual(state, self._state(error))

    def test_an_image_that_is_shown_has_its_name_in_glance(self):
        self.source.images = {
            self.image.id: dataclasses.replace(self.image, name='new')
        }
        (state,) = glance_state.states(self.source, [self.image]).values()
        self.assertEqual((True, 'new'), (state.shown, state.name))
        self.source.images = {}
        (state,) = glance_state.states(self.source, [self.image]).values()
        self.assertEqual((False, None), (state.shown, state.name))

    def test_a_glance_that_does_not_answer_is_an_error(self):
        self.assertRaises(
            exceptions.GlanceUnreachable,
            self._state,
            exceptions.GlanceUnreachable(reason='time-out'),
        )
