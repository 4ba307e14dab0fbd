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

"""The simulator as an object: a host and its server, started and stopped."""

from __future__ import annotations

import collections.abc
import dataclasses
import ipaddress
import os
import threading
import types
import typing

from pvm_imagecache.simulator import control as control_module
from pvm_imagecache.simulator import host as host_module
from pvm_imagecache.simulator import server as server_module
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import sizes


@dataclasses.dataclass(frozen=True)
class Group:
    """A volume group to start with; vios None is the first one."""

    name: str
    gb: float
    vios: str | None = None


DEFAULT_VIOSES = ('vios1',)
DEFAULT_GROUPS = (Group('rootvg', 100), Group('cachevg', 1000))
DEFAULT_USER = 'pvmadmin'
#: Of a simulator, which nothing depends on; an option sets another one.
DEFAULT_PASSWORD = 'pvmadmin'  # noqa: S105


class Simulator:
    """A PowerVM REST server on a state directory; a context manager.

    What is in the state directory already stays; VIOSes and volume groups
    that it lacks are added.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        port: int = 0,
        bind: str = '127.0.0.1',
        allow_remote: bool = False,
        vioses: collections.abc.Sequence[str] = DEFAULT_VIOSES,
        volume_groups: collections.abc.Sequence[Group] = DEFAULT_GROUPS,
        cluster: tuple[str, float] | None = None,
        user: str = DEFAULT_USER,
        password: str = DEFAULT_PASSWORD,
        **settings: typing.Any,
    ) -> None:
        """Wire it up.

        :param cluster: name of a cluster of all VIOSes, and the capacity of
            its Shared Storage Pool in GB.
        :param allow_remote: permit a bind address that is not loopback.
        :param settings: fields of settings.Settings.
        """
        if not allow_remote and not _is_loopback(bind):
            raise ValueError(f'{bind} is not a loopback address')
        wanted = settings_module.Settings()
        wanted.change(settings)
        self._host = host_module.Host(
            os.path.abspath(state_dir), wanted, user, password
        )
        try:
            self._populate(vioses, volume_groups)
            if cluster is not None:
                name, gb = cluster
                self._host.pool.add_cluster(name, int(gb * sizes.GIB))
            self._server = server_module.Server((bind, port), self._host)
        except BaseException:
            self._host.close()
            raise
        self.url = self._host.base_url = self._server.url
        self.host = str(self._server.server_address[0])
        self.port = int(self._server.server_address[1])
        self.control = control_module.Control(self.url)
        self._thread: threading.Thread | None = None

    def _populate(
        self,
        vioses: collections.abc.Sequence[str],
        groups: collections.abc.Sequence[Group],
    ) -> None:
        host = self._host
        known = {vios.name for vios in host.vioses.all()}
        for name in vioses:
            if name not in known:
                host.add_vios(name)
        host.partitions.add_management_partition()
        for group in groups:
            vios = host.vioses.get(group.vios or vioses[0])
            if not any(
                other.vios == vios.uuid and other.name == group.name
                for other in host.volume_groups.all()
            ):
                host.volume_groups.add_group(
                    vios.uuid, group.name, int(group.gb * sizes.GIB)
                )

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(0.1,),
            daemon=True,
            name='simulator',
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; all threads are gone when this returns."""
        if self._thread is None:
            return
        self._server.stop()
        self._thread.join()
        self._thread = None
        self._host.close()

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.stop()


def _is_loopback(address: str) -> bool:
    if address == 'localhost':
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
