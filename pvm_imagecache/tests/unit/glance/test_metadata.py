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
"""Requests for the metadata of images."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import metadata
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import responses


class _Client:
    """Answers every request in the same way."""

    def __init__(self, answer):
        self.paths = []
        self._answer = answer

    def get(self, path):
        self.paths.append(path)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


_FACTS = {'id': base.IMAGE_ID, 'status': 'active'}


class ShowTest(base.TestCase):
    def test_the_image_is_returned(self):
        client = _Client(_FACTS)
        found = metadata.show(client, base.IMAGE_ID)
        self.assertEqual(base.IMAGE_ID, found.id)
        self.assertEqual([f'/v2/images/{base.IMAGE_ID}'], client.paths)

    def test_an_id_cannot_change_the_path(self):
        client = _Client(_FACTS)
        self.assertRaises(
            exceptions.ImageNotFound, metadata.show, client, '../a?b#c'
        )
        self.assertEqual(['/v2/images/..%2Fa%3Fb%23c'], client.paths)

    def test_another_case_is_another_image(self):
        self.assertRaises(
            exceptions.ImageNotFound,
            metadata.show,
            _Client(_FACTS),
            base.IMAGE_ID.upper(),
        )

    def test_an_answer_that_is_no_image_is_refused(self):
        for answer in (None, {}, [], iter([b'x'])):
            self.assertRaises(
                exceptions.GlanceFailed,
                metadata.show,
                _Client(answer),
                base.IMAGE_ID,
            )


class PageTest(base.TestCase):
    def test_a_page_has_entries_and_whether_more_follow(self):
        client = _Client({'images': [_FACTS], 'next': '/v2/images?marker=x'})
        found = metadata.page(client, 'x', {'name': 'eq:a b&c'})
        self.assertEqual([base.IMAGE_ID], [each.id for each in found.entries])
        self.assertTrue(found.more)
        self.assertEqual(['/v2/images?name=eq%3Aa+b%26c'], client.paths)
        self.assertFalse(metadata.page(_Client({'images': []}), 'x', {}).more)

    def test_a_refusal_has_its_status(self):
        for status in (400, 403, 404):
            client = _Client(responses.refused(status))
            self.assertEqual(status, metadata.page(client, 'x', {}).refused)

    def test_other_answers_are_no_refusals(self):
        for status in (401, 500, 503):
            error = responses.refused(status)
            raised = self.assertRaises(
                glance_http.BadAnswer, metadata.page, _Client(error), 'x', {}
            )
            self.assertIs(error, raised)

    def test_an_answer_that_is_no_list_is_refused(self):
        for answer in (
            None,
            [],
            {},
            {'images': None},
            {'images': {}},
            {'images': [{}]},
            {'images': ['x']},
            iter([b'x']),
        ):
            self.assertRaises(
                exceptions.GlanceFailed,
                metadata.page,
                _Client(answer),
                'x',
                {},
            )
