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


"""The clock of the catalog: uptime of the host since the catalog was created.

Neither setting the system clock nor a reboot changes an age that is computed
with it. Time while the host is down does not count: nothing could be used.
"""

from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import file as catalog_file


class Clock:
    """The clock of one catalog.

    :param file: the file of the catalog.
    """

    def __init__(self, file: catalog_file.CatalogFile) -> None:
        self._file = file

    def now(self) -> float:
        """Return the time by the clock of the catalog.

        :returns: seconds for which the host was up since the catalog was
            created.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            row = connection.row('SELECT boot, uptime, seconds FROM clock')
            if row is None:
                return 0.0
            seconds, uptime = row.number('seconds'), boot_clock.uptime()
            if row.text('boot') != boot_clock.boot():
                return seconds + uptime
            return seconds + max(0.0, uptime - row.number('uptime'))

    def save(self) -> float:
        """Store the time, so that little of it is lost at a reboot.

        :returns: the stored time, as :meth:`now`.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            seconds = self.now()
            connection.execute(
                'INSERT OR REPLACE INTO clock (only, boot, uptime, seconds)'
                ' VALUES (1, ?, ?, ?)',
                (boot_clock.boot(), boot_clock.uptime(), seconds),
            )
            return seconds
