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

"""The whole cloud: brought up in the order in which its parts need others."""

import datetime
import time
from typing import Any

from cloud import glance
from cloud import keystone
from cloud import mariadb
from cloud import neutron
from cloud import nova
from cloud import placement
from cloud import powervm
from cloud import processes
from cloud import rabbitmq
from cloud import site as site_module

#: Never, in the time of a run.
DAY = 24 * 3600


class Cloud:
    """All services of a run, as its context manager."""

    def __init__(self, site: site_module.Site) -> None:
        self.site = site
        self.supervisor = processes.Supervisor(site.logs)
        #: Empty after the first start: then the service catalog is used.
        self._glance_servers = glance.servers(site) if site.as_deployed else ''

    def __enter__(self) -> 'Cloud':
        try:
            self._bring_up()
        except BaseException:
            self.supervisor.stop_all()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.supervisor.stop_all()

    def restart_compute(
        self, idle_age: int = DAY, minimum_age: int = 1
    ) -> None:
        """Stop nova-compute, and start it again.

        The parameters are those of nova.configure_compute().
        """
        self.supervisor.stop(nova.compute(self.site))
        self._glance_servers = ''
        self._start_compute(idle_age, minimum_age)

    def reload_compute(self, idle_age: int, minimum_age: int) -> None:
        """Send nova-compute a SIGHUP for another configuration."""
        nova.configure_compute(self.site, idle_age, minimum_age)
        self.supervisor.hang_up(nova.compute(self.site))

    def _bring_up(self) -> None:
        site, supervisor = self.site, self.supervisor
        say('MariaDB, RabbitMQ and the simulator of a PowerVM host')
        servers = (
            *rabbitmq.services(site),
            mariadb.service(site),
            powervm.service(site),
        )
        # RabbitMQ would start a port mapper of its own if there were none.
        supervisor.start(servers[0])
        supervisor.run(mariadb.commands(site))
        supervisor.wait_for(servers[0])
        supervisor.start(*servers[1:])
        supervisor.wait_for(*servers)
        say('the databases of Keystone, Placement, Glance and nova')
        supervisor.run(
            keystone.commands(site),
            nova.commands(site),
            placement.commands(site),
            glance.commands(site),
        )
        say('Keystone, its users and its service catalog')
        identity = keystone.service(site)
        supervisor.start(identity)
        supervisor.wait_for(identity)
        # The others look up the project of services when they start.
        keystone.fill(site)
        say('Placement, Glance, nova and the stand-in for Neutron')
        apis = (
            placement.service(site),
            glance.service(site),
            neutron.service(site),
            nova.api(site),
        )
        supervisor.start(*apis, *nova.controllers(site))
        supervisor.wait_for(*apis)
        say(f'nova-compute, with {nova.DRIVER}')
        self._start_compute(DAY, 1)
        supervisor.run([nova.discover_hosts(site)])

    def _start_compute(self, idle_age: int, minimum_age: int) -> None:
        nova.configure_compute(
            self.site, idle_age, minimum_age, self._glance_servers
        )
        started = time.time()
        self.supervisor.start(nova.compute(self.site))
        with keystone.connect(self.site) as cloud:
            self.supervisor.wait_until(
                lambda: _reported(cloud, started),
                'nova-compute to report to nova',
                interval=0.5,
            )


def _reported(cloud: Any, since: float) -> bool:
    """Whether nova-compute has reported after that time.

    It does so only when its node is known and its queues are there.
    """
    services = [
        service
        for service in cloud.compute.services()
        if service.binary == 'nova-compute'
    ]
    if not services or not services[0].updated_at:
        return False
    reported = datetime.datetime.fromisoformat(services[0].updated_at)
    return reported.replace(tzinfo=datetime.UTC).timestamp() >= since


def say(text: str) -> None:
    """One line on the way."""
    print(f'   {text} ...', flush=True)
