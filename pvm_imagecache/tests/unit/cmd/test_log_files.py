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

"""The file of --log-file, and how records are written."""

import logging
import os
import sys

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import log_files
from pvm_imagecache.tests.unit import base

_FORGED = '[2026-01-01 00:00:00,000] ERROR    nova it was not me'


class FormatterTest(base.TestCase):
    def lines(self, message, *arguments, error=None, stack=None):
        record = logging.LogRecord(
            'x', logging.ERROR, 'f', 1, message, arguments, error, sinfo=stack
        )
        record.exc_text = f'cached\n{_FORGED}' if error else None
        formatter = log_files.FileFormatter('%(levelname)s %(message)s')
        return formatter.format(record).splitlines()

    def test_a_record_is_one_line(self):
        for each in ('\n', '\r', '\x0b', '\x85', '\u2028', '\r\n'):
            for lines in (
                self.lines(f'a{each}{_FORGED}'),
                self.lines('a %s', f'{each}{_FORGED}'),
            ):
                self.assertEqual(1, len(lines))
                self.assertTrue(lines[0].startswith('ERROR a'))

    def test_control_characters_are_escaped(self):
        self.assertEqual([r'ERROR \x1b[2J\t\x9b'], self.lines('\x1b[2J\t\x9b'))

    def test_a_traceback_is_indented(self):
        try:
            raise ValueError(f'x\n{_FORGED}\r{_FORGED}')
        except ValueError:
            error = sys.exc_info()
        first, *others = self.lines('failed', error=error, stack='s\nt')
        self.assertEqual('ERROR failed', first)
        self.assertTrue(all(each.startswith('    ') for each in others))
        self.assertNotIn('cached', ''.join(others))


class HandlerTest(base.TestCase):
    def refused(self, path):
        return str(
            self.assertRaises(
                exceptions.LogFileRefused, log_files.handler, path, None
            )
        )

    def test_a_file_is_appended_to(self):
        path = self.useFixture(base.TextFile(self.path('log'), 'old\n')).path
        made = log_files.handler(path, None)
        made.handle(logging.LogRecord('x', 20, 'f', 1, 'new\nline', (), None))
        made.stream.close()
        with open(path) as file:
            content = file.read()
        self.assertTrue(content.startswith('old\n['))
        self.assertTrue(content.endswith('new\\nline\n'))

    def test_links_are_refused(self):
        path = self.useFixture(base.TextFile(self.path('log'), '')).path
        os.symlink(path, self.path('link'))
        self.assertIn('a symbolic link', self.refused(self.path('link')))
        os.link(path, self.path('hard'))
        self.assertIn('more than one name', self.refused(path))

    def test_what_is_no_file_is_refused(self):
        os.mkfifo(self.path('fifo'))
        self.refused(self.path('fifo'))
        self.assertIn('directory', self.refused(self.directory))
