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

"""RabbitMQ from Debian, as a private instance of this run.

The command ``rabbitmq-server`` of the package changes to the user rabbitmq
and to the directories of the system's service; what it starts in the end
does neither. Erlang's port mapper would start by itself, and stay: it is
started here as a service of its own.
"""

from cloud import processes
from cloud import site as site_module

PROGRAM = '/usr/lib/rabbitmq/bin/rabbitmq-server'


def services(
    site: site_module.Site,
) -> tuple[processes.Service, processes.Service]:
    """The port mapper, and RabbitMQ."""
    home = site.home('rabbitmq')
    (home / 'rabbitmq.conf').touch(0o600)
    (home / 'rabbitmq.conf').write_text(f"""\
listeners.tcp.default = {site_module.HOST}:{site.ports.rabbitmq}
default_user = openstack
default_pass = {site.password}
""")
    (home / 'enabled_plugins').write_text('[].\n')
    mapper = {
        'ERL_EPMD_ADDRESS': site_module.HOST,
        'ERL_EPMD_PORT': str(site.ports.epmd),
    }
    environment = mapper | {
        # Where Erlang keeps the cookie of its nodes.
        'HOME': str(home),
        # The system's file of such settings is not ours.
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
        'RABBITMQ_CONFIG_FILE': str(home / 'rabbitmq.conf'),
        'RABBITMQ_DIST_PORT': str(site.ports.rabbitmq_nodes),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'enabled_plugins'),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_LOG_BASE': str(home),
        'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
        'RABBITMQ_NODENAME': 'rabbit@localhost',
        'RABBITMQ_PID_FILE': str(home / 'pid'),
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
            '-kernel inet_dist_use_interface {127,0,0,1}'
        ),
        # Erlang replaces the shell, and so gets our signals.
        'RUNNING_UNDER_SYSTEMD': '1',
    }
    return (
        processes.Service('epmd', ['epmd'], mapper, port=site.ports.epmd),
        processes.Service(
            'rabbitmq', [PROGRAM], environment, port=site.ports.rabbitmq
        ),
    )
