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

"""What the services of one run share: directories, ports, passwords."""

import dataclasses
import pathlib
import random
import secrets
import socket
import sys

HOST = '127.0.0.1'
REGION = 'RegionOne'
#: The one domain that a new Keystone has.
DOMAIN = 'Default'
#: Below the ports that the kernel gives to outgoing connections (32768 and
#: above): the many of a run would take one of ours away now and then.
_PORTS = range(20000, 32000)


@dataclasses.dataclass(frozen=True)
class Ports:
    """One for each server, all on loopback."""

    rabbitmq: int
    rabbitmq_nodes: int
    epmd: int
    mariadb: int
    keystone: int
    placement: int
    glance: int
    nova: int
    neutron: int
    powervm: int
    #: Nothing listens on it.
    nothing: int


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a run has what.

    :ivar directory: of all files of the run
    :ivar password: of everything that wants one, in this run only
    :ivar eventlet: whether nova runs under eventlet, not native threads
    :ivar as_deployed: whether Glance and Keystone are as in many clouds:
        addresses of Glance have a version, that of Keystone has none, one of
        two servers of Glance is down, and its store cannot read ranges
    """

    directory: pathlib.Path
    ports: Ports
    password: str
    eventlet: bool
    as_deployed: bool

    @classmethod
    def make(
        cls, directory: pathlib.Path, eventlet: bool, as_deployed: bool
    ) -> 'Site':
        """Choose ports and a password, and make the directories."""
        site = cls(
            directory,
            free_ports(),
            secrets.token_hex(16),
            eventlet,
            as_deployed,
        )
        site.logs.mkdir(mode=0o700)
        return site

    @property
    def logs(self) -> pathlib.Path:
        return self.directory / 'logs'

    def home(self, service: str) -> pathlib.Path:
        """The directory of a service, made if there is none."""
        path = self.directory / service
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def url(self, service: str, path: str = '') -> str:
        """The address of a service's API."""
        return f'http://{HOST}:{getattr(self.ports, service)}{path}'

    def database(self, name: str) -> str:
        """What SQLAlchemy connects to for a database of that name."""
        return (
            f'mysql+pymysql://openstack:{self.password}@{HOST}:'
            f'{self.ports.mariadb}/{name}?charset=utf8'
        )

    @property
    def transport_url(self) -> str:
        """What oslo.messaging connects to."""
        return (
            f'rabbit://openstack:{self.password}@{HOST}:{self.ports.rabbitmq}/'
        )


def command(name: str) -> pathlib.Path:
    """A command of the environment that this runs in."""
    return pathlib.Path(sys.executable).with_name(name)


def free_ports() -> Ports:
    """Ports that nobody listens on now."""
    names = [field.name for field in dataclasses.fields(Ports)]
    found: list[int] = []
    for port in random.sample(_PORTS, k=len(_PORTS)):
        if len(found) == len(names):
            break
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
    return Ports(**dict(zip(names, found, strict=True)))
