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
import io

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import answers
from pvm_imagecache.tests.unit import base

_ATOM = 'http://www.w3.org/2005/Atom'


def _feed(content, declared=''):
    return f'{declared}<feed xmlns="{_ATOM}">{content}</feed>'.encode()


class ReadTest(base.TestCase):
    def test_a_body_has_a_bound(self):
        self.assertEqual(b'12345', answers.read(io.BytesIO(b'12345'), 5))
        self.assertIsNone(answers.read(io.BytesIO(b'123456'), 5))
        self.assertEqual(b'', answers.read(io.BytesIO(b''), 5))

    def test_an_endless_body_ends(self):
        class Endless:
            def read(self, size):
                return b'x' * size

        self.assertIsNone(answers.read(Endless(), 1 << 20))


class SizeTest(base.TestCase):
    def test_sizes_are_in_bytes(self):
        for gib, size in (
            (None, 0),
            ('', 0),
            (0, 0),
            (2, 2 << 30),
            ('0.5', 1 << 29),
            (' 1 ', 1 << 30),
        ):
            self.assertEqual(size, answers.size(gib))

    def test_what_is_no_finite_number_is_an_error(self):
        for gib in (float('nan'), 'inf', '-1e309', 'x' * 5000, '\x1b[2J'):
            error = self.assertRaises(
                exceptions.PowerVMError, answers.size, gib
            )
            self.assertLess(len(str(error)), 200)
            self.assertTrue(str(error).isprintable())


class DocumentTest(base.TestCase):
    def assert_bad(self, sign, body, atom=True):
        error = self.assertRaises(
            answers.BadAnswer, answers.document, body, atom
        )
        self.assertIn(sign, str(error))
        self.assertNotIn('\n', str(error))

    def test_a_feed_is_accepted(self):
        body = _feed('<entry>é</entry>')
        self.assertEqual(body.decode(), answers.document(body, True))

    def test_a_logon_is_not_atom(self):
        self.assertEqual('<L/>', answers.document(b'<L/>', False))
        self.assert_bad('neither', b'<L/>')

    def test_what_is_not_xml_is_refused(self):
        for body in (
            b'no xml',
            b'<a>',
            b'<a>\xff</a>',
            b'\0' * 100,
            '<a>é</a>'.encode('utf-16'),
            b'<?xml version="1.0" encoding="UTF-16"?><a>\xff</a>',
        ):
            self.assert_bad('is not XML', body, atom=False)

    def test_a_document_type_is_refused(self):
        entity = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        self.assert_bad('document type', _feed('&b;', entity))
        self.assert_bad(
            'document type',
            b'<!DOCTYPE html><html><body>Sign in</body></html>',
        )

    def test_depth_has_a_bound(self):
        for levels in (15, 100):
            answers.document(_feed('<a>' * levels + '</a>' * levels), True)
        for levels in (300, 100000):
            self.assert_bad(
                'is not XML', _feed('<a>' * levels + '</a>' * levels)
            )

    def test_elements_and_attributes_have_a_bound(self):
        answers.document(_feed('<a b=""/>' * 100000), True)
        self.assert_bad('too many', _feed('<a/>' * 2000000))
        self.assert_bad('too many', _feed('<a b=""/>' * 700000))
        self.assert_bad('too many', _feed('<!--a-->' * 1500000))
