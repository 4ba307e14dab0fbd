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

"""What was measured of the platform of each pool."""

from collections.abc import Mapping
import logging
import sqlite3
import time
from typing import Final

from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import clock as catalog_clock
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models

LOG = logging.getLogger(__name__)

_INVALID: Final = 'its record is invalid: run "pvm-imagecache platform check"'


class PlatformFacts:
    """Facts about the platform of each pool, with when they were measured.

    :param file: the file of the catalog.
    :param clock: the clock of the catalog.
    """

    def __init__(
        self, file: catalog_file.CatalogFile, clock: catalog_clock.Clock
    ) -> None:
        self._file = file
        self._clock = clock

    def read(self, pool: str) -> platform_facts.PlatformFacts:
        """Return what is known of the platform of a pool.

        :param pool: ID of the pool.
        :returns: the facts; all are None if nothing was measured.
        :raises CatalogError: if the catalog cannot be read.
        """
        return platform_facts.from_values(
            {name: each.value for name, each in self.list(pool).items()}
        )

    def list(self, pool: str) -> dict[str, models.PlatformFact]:
        """Return the records of what was measured.

        :param pool: ID of the pool.
        :returns: by name of the fact, in the order of a report. A fact that
            this release does not know is left out; one with an invalid
            record is unknown, and was measured at the time 0.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            found = {
                row['fact']: row
                for row in connection.rows(
                    'SELECT fact, value, reason, measured_at, measured_clock,'
                    ' platform FROM platform_facts WHERE pool = ?',
                    (pool,),
                )
            }
            return {
                each: _fact(each, found[each])
                for each in platform_facts.TYPES
                if each in found
            }

    def record(
        self,
        pool: str,
        values: Mapping[str, platform_facts.Value],
        unknown: Mapping[str, str],
        platform: str,
    ) -> None:
        """Record what was measured now, in place of earlier values.

        Facts that are in neither mapping keep their records.

        :param pool: ID of the pool.
        :param values: the value of each fact that was measured, by name.
        :param unknown: why a fact could not be measured, by name.
        :param platform: identifies the levels of the platform. A fact of
            another platform is out of date.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            at = (time.time(), self._clock.save())
            connection.executemany(
                'INSERT OR REPLACE INTO platform_facts (pool, fact, value,'
                ' reason, measured_at, measured_clock, platform)'
                ' VALUES (?, ?, ?, ?, ?, ?, ?)',
                [
                    (pool, name, platform_facts.to_text(value), '', *at)
                    + (platform,)
                    for name, value in values.items()
                ]
                + [
                    (pool, name, None, platform_facts.one_line(reason), *at)
                    + (platform,)
                    for name, reason in unknown.items()
                ],
            )

    def forget(self, pool: str) -> None:
        """Forget everything about the platform of a pool.

        :param pool: ID of the pool.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'DELETE FROM platform_facts WHERE pool = ?', (pool,)
            )


def _fact(name: str, row: catalog_connection.Row) -> models.PlatformFact:
    """Return a record, as an unknown fact if it is invalid.

    The other facts of the pool are known nevertheless.
    """
    try:
        return _valid_fact(name, row)
    except (sqlite3.DataError, ValueError) as error:
        LOG.debug('The record of fact %s is invalid: %s', name, error)
        return models.PlatformFact(None, _INVALID, 0.0, 0.0, '')


def _valid_fact(name: str, row: catalog_connection.Row) -> models.PlatformFact:
    text = row.text_or_none('value')
    value = None if text is None else platform_facts.from_text(name, text)
    return models.PlatformFact(
        value=value,
        reason=row.text('reason'),
        measured_at=row.number('measured_at'),
        measured_clock=row.number('measured_clock'),
        platform=row.text('platform'),
    )
