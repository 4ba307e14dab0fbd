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

"""Messages on the standard error."""

import io
import sys

from pvm_imagecache.system import terminal
from pvm_imagecache.tests.unit import base


class WriteTest(base.TestCase):
    def test_a_message_is_a_line(self):
        self.patch(sys, 'stderr', io.StringIO())
        terminal.write('one')
        terminal.write('two', end=' ')
        self.assertEqual('one\ntwo ', sys.stderr.getvalue())

    def test_a_stream_that_fails_is_ignored(self):
        class Failing(io.StringIO):
            def __init__(self, error):
                super().__init__()
                self.error = error

            def write(self, text):
                raise self.error

        for error in (OSError(), ValueError(), RuntimeError()):
            self.patch(sys, 'stderr', Failing(error))
            terminal.write('text')

    def test_a_closed_stream_is_not_replaced_by_the_output(self):
        self.patch(sys, 'stderr', None)
        self.patch(sys, 'stdout', io.StringIO())
        terminal.write('text')
        self.assertEqual('', sys.stdout.getvalue())
