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

"""Errors, and the calls that raise them."""

import ast
import inspect
import pathlib
import string

import pvm_imagecache
from pvm_imagecache import exceptions
from pvm_imagecache.tests.unit import base


class _Names(dict):
    """Answers to every key, and remembers for which it was asked."""

    def __missing__(self, key):
        self[key] = 42
        return 42


def _all():
    return [
        each
        for _, each in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(each, exceptions.PVMImageCacheError)
    ]


def _fields(kind):
    """The names that a message needs."""
    names = _Names()
    kind.msg_fmt % names
    return set(names)


def _modules():
    root = pathlib.Path(pvm_imagecache.__file__).parent
    for path in sorted(root.rglob('*.py')):
        if not {'tests', 'simulator'} & set(path.relative_to(root).parts):
            yield path


def _raised(tree):
    """Each call that makes an error of ours: its class and arguments."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == 'exceptions'
        ):
            yield (
                getattr(exceptions, node.func.attr),
                node,
                {keyword.arg for keyword in node.keywords},
            )


class ExceptionsTest(base.TestCase):
    def test_every_message_can_be_written(self):
        for kind in _all():
            values = dict.fromkeys(_fields(kind), 42)
            error = kind(**values)
            self.assertNotIn('%(', str(error))
            for name in values:
                self.assertEqual(42, getattr(error, name))

    def test_every_message_is_one_paragraph_in_ascii(self):
        for kind in _all():
            self.assertLessEqual(
                set(kind.msg_fmt), set(string.printable) - set('\n\r\t')
            )

    def test_every_error_says_what_it_is_for(self):
        for kind in _all():
            self.assertTrue(kind.__doc__)
            self.assertIsInstance(kind.transient, bool)

    def test_every_call_gives_what_the_message_needs(self):
        calls = 0
        for path in _modules():
            for kind, node, given in _raised(ast.parse(path.read_text())):
                calls += 1
                where = f'{path}:{node.lineno} {kind.__name__}'
                self.assertEqual([], node.args, where)
                required = _fields(kind) - set(kind.defaults)
                self.assertEqual(set(), required - given, where)
        self.assertGreater(calls, 50)

    def test_every_error_is_raised_somewhere(self):
        text = '\n'.join(
            path.read_text()
            for path in _modules()
            if path.name != 'exceptions.py'
        )
        bases = {parent for kind in _all() for parent in kind.__bases__}
        unused = [
            kind.__name__
            for kind in _all()
            if kind not in bases and f'exceptions.{kind.__name__}' not in text
        ]
        self.assertEqual([], unused)

    def test_a_missing_value_is_a_mistake_of_ours(self):
        error = self.assertRaises(KeyError, exceptions.DiskNotFound, name='x')
        self.assertIn('DiskNotFound needs the argument', str(error))

    def test_an_update_without_answer_has_a_remedy(self):
        error = exceptions.UpdateNotMade(
            pool='Volume group vg', what='vm1', reason='Late.', action='a'
        )
        for each in ('vm1: Late. ', 'Retry the request. ', 'Check the VIOS'):
            self.assertIn(each, str(error))

    def test_percent_signs_in_values_are_harmless(self):
        error = exceptions.DiskNotFound(name='100%s', pool='%(secret)s')
        self.assertEqual('There is no disk "100%s" in %(secret)s.', str(error))

    def test_families_and_transience_are_as_documented(self):
        self.assertTrue(
            exceptions.PowerVMBusy(action='a', reason='r').transient
        )
        self.assertFalse(
            exceptions.PowerVMRequestFailed(action='a', reason='r').transient
        )
        self.assertFalse(exceptions.ImageCorrupt.transient)
        self.assertFalse(
            issubclass(exceptions.NotEnoughSpace, exceptions.CacheFault)
        )
        for kind in (
            exceptions.CatalogTooNew,
            exceptions.CatalogConflict,
            exceptions.LockTimeout,
            exceptions.BaseImageGone,
            exceptions.BaseImageOccupied,
            exceptions.ImageNotCacheable,
        ):
            # A deploy goes past the cache for all of these.
            self.assertTrue(issubclass(kind, exceptions.CacheFault))

    def test_an_image_is_shown_by_name_and_short_id(self):
        error = exceptions.ImagePinned(
            image=base.IMAGE_ID, image_name='debian-13'
        )
        self.assertEqual(
            'Image debian-13 (3e865d14) is pinned (unpin it first).',
            str(error),
        )
        self.assertEqual(base.IMAGE_ID, error.image)
        for name in (None, ''):
            error = exceptions.ImagePinned(
                image=base.IMAGE_ID, image_name=name
            )
            self.assertIn(base.IMAGE_ID, str(error))

    def test_every_docstring_says_when_the_error_is_raised(self):
        for kind in _all():
            first = kind.__doc__.partition('\n')[0]
            self.assertRegex(first, r'^(Raised |Family of |Root of )', kind)

    def test_every_field_of_a_message_is_documented(self):
        for kind in _all():
            documented = ' '.join(
                parent.__doc__ or ''
                for parent in kind.__mro__
                if issubclass(parent, exceptions.PVMImageCacheError)
            )
            for name in _fields(kind):
                self.assertIn(f':ivar {name}:', documented, kind)
