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


"""A connection that checks parameters and results."""

import enum
import sqlite3

from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.tests.unit.catalog import base


class Color(enum.Enum):
    RED = 'red'


class ConnectionTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.connection = sqlite3.connect(
            ':memory:', factory=catalog_connection.Connection
        )
        self.addCleanup(self.connection.close)


class RowTest(ConnectionTestCase):
    def setUp(self):
        super().setUp()
        self.row = self.connection.row(
            "SELECT 'red' AS text, 1 AS integer, 1.5 AS number,"
            " x'00' AS blob, NULL AS empty"
        )

    def test_values_of_the_right_type_are_returned(self):
        row = self.row
        self.assertEqual(
            ('red', 'red', 1, 1, 1.0, 1.5, 1.5, Color.RED),
            (
                row.text('text'),
                row.text_or_none('text'),
                row.integer('integer'),
                row.integer_or_none('integer'),
                row.number('integer'),
                row.number('number'),
                row.number_or_none('number'),
                row.member('text', Color),
            ),
        )

    def test_null_is_none_if_that_is_allowed(self):
        self.assertEqual(
            (None, None, None),
            (
                self.row.text_or_none('empty'),
                self.row.integer_or_none('empty'),
                self.row.number_or_none('empty'),
            ),
        )

    def test_values_of_the_wrong_type_are_errors_of_the_data(self):
        for read, columns in (
            (self.row.text, ('integer', 'number', 'blob', 'empty')),
            (self.row.text_or_none, ('integer', 'blob')),
            (self.row.integer, ('text', 'number', 'blob', 'empty')),
            (self.row.integer_or_none, ('text', 'number')),
            (self.row.number, ('text', 'blob', 'empty')),
            (self.row.number_or_none, ('text', 'blob')),
        ):
            for column in columns:
                error = self.assertRaises(sqlite3.DataError, read, column)
                self.assertIn(f'column {column} has', str(error))

    def test_an_unknown_member_is_an_error_of_the_data(self):
        for column in ('integer', 'blob', 'empty'):
            self.assertRaises(
                sqlite3.DataError, self.row.member, column, Color
            )


class ConnectionTest(ConnectionTestCase):
    def test_row_of_an_empty_result_is_none(self):
        self.assertIsNone(self.connection.row('SELECT 1 WHERE 0'))

    def test_rows_takes_values_by_position_and_by_name(self):
        for statement, values in (
            ('SELECT ? AS found', ('x',)),
            ('SELECT :a AS found', {'a': 'x'}),
        ):
            (row,) = self.connection.rows(statement, values)
            self.assertEqual('x', row.text('found'))

    def test_parameters_that_sqlite_cannot_store_are_errors_of_the_data(self):
        self.connection.execute('CREATE TABLE numbers (number)')
        for value in (1 << 63, 'a\ud800b'):
            self.assertRaises(
                sqlite3.DataError,
                self.connection.execute,
                'INSERT INTO numbers VALUES (?)',
                (value,),
            )
            self.assertRaises(
                sqlite3.DataError,
                self.connection.executemany,
                'INSERT INTO numbers VALUES (?)',
                [(value,)],
            )
        self.assertEqual([], self.connection.rows('SELECT * FROM numbers'))

    def test_an_error_of_the_iterable_is_raised_unchanged(self):
        def rows():
            yield from ()
            raise OverflowError('of the caller')

        error = self.assertRaises(
            OverflowError,
            self.connection.executemany,
            'SELECT ?',
            rows(),
        )
        self.assertEqual('of the caller', str(error))
