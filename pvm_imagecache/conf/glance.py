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

"""Options of the connection to Glance, for the pvm-imagecache command.

They have the names of nova's options, and in addition the credentials that
nova takes from the request of a user. nova-compute uses its own options.
"""

from typing import Final

from keystoneauth1 import loading
from oslo_config import cfg

from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

GROUP: Final = cfg.OptGroup(
    'glance',
    title='Image service',
    help='Connection and credentials with which the pvm-imagecache command '
    'uses Glance. The options are those of keystoneauth1.',
)

OPTIONS: Final = [
    cfg.ListOpt(
        'api_servers',
        default=[],
        help="""
URLs of the Glance API. All of them are used, in a random order.

Each attempt begins with the next server. If a server is down, the others are
tried at once. The version of the API may be part of a URL.

If the list is empty, endpoint_override is used. If that is not set either, the
URL is taken from the Keystone service catalog, with region_name and
valid_interfaces. Without valid_interfaces, the interface is internal, or
public if there is no internal one.

Related options:

* valid_interfaces, region_name and endpoint_override
""",
    ),
]


def register(conf: types.Conf) -> None:
    """Register the options that nova has not registered; may be repeated.

    :param conf: the configuration of the process.
    """
    registration.register(conf, GROUP, ())
    loading.register_auth_conf_options(conf, GROUP.name)
    if 'api_servers' in conf[GROUP.name]:
        # nova has registered its own options, which have the same names.
        return
    registration.register(conf, GROUP, OPTIONS)
    loading.register_session_conf_options(conf, GROUP.name)
    loading.register_adapter_conf_options(
        conf, GROUP.name, include_deprecated=False
    )


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config.

    :returns: the group, and a new list of its options with those of
        keystoneauth1.
    """
    common = loading.get_auth_common_conf_options()
    plugin = loading.get_auth_plugin_conf_options('v3password')
    session = loading.get_session_conf_options()
    adapter = loading.get_adapter_conf_options(include_deprecated=False)
    return [(GROUP, [*OPTIONS, *common, *plugin, *session, *adapter])]
