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

import logging

import fixtures

from pvm_imagecache.tests.unit import base
from pvm_imagecache.virt import fault_log


class FaultLogTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.faults = fault_log.FaultLog('do it')

    def lines(self):
        return self.log.output.splitlines()

    def test_success_alone_is_not_logged(self):
        self.faults.recovered()
        self.assertEqual([], self.lines())

    def test_an_error_is_logged_once_while_it_stays_the_same(self):
        for error in ('one', 'one', 'two', 'two', 'one'):
            self.faults.failed(ValueError(error))
        self.assertEqual(
            [
                f'Could not do it, will retry: {each}'
                for each in ('one', 'two', 'one')
            ],
            self.lines(),
        )

    def test_recovery_is_logged_once(self):
        self.faults.failed(ValueError('one'))
        self.faults.recovered()
        self.faults.recovered()
        self.assertEqual(['Able to do it again'], self.lines()[1:])

    def test_an_error_is_logged_again_after_recovery(self):
        for _ in range(2):
            self.faults.failed(ValueError('one'))
            self.faults.recovered()
        self.assertEqual(4, len(self.lines()))

    def test_an_error_without_text_is_named_by_its_class(self):
        self.faults.failed(ValueError())
        self.assertEqual(
            ['Could not do it, will retry: ValueError'], self.lines()
        )
