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

"""The options of ``[glance]`` for the admin shell.

They are named as nova names its own, with the credentials added that nova
takes from the user's request. Inside nova-compute nova's own are used.
"""

import copy
from typing import Any
from typing import Final

from keystoneauth1 import loading
from oslo_config import cfg

GROUP: Final = cfg.OptGroup(
    'glance',
    title='The Image service',
    help='How the command pvm-imagecache reaches Glance, and as whom. The '
    'options are those of keystoneauth1.',
)

OPTIONS: Final = [
    cfg.ListOpt(
        'api_servers',
        default=[],
        help='Addresses of Glance, of which the first is used. By default '
        'it is looked up in the catalogue of Keystone.',
    ),
]


def register(conf: Any) -> None:
    """Register the options with a ConfigOpts; may be done repeatedly."""
    # A ConfigOpts keeps what is overridden in the group itself.
    conf.register_group(copy.deepcopy(GROUP))
    loading.register_auth_conf_options(conf, GROUP.name)
    if 'api_servers' in conf[GROUP.name]:
        # nova has registered its own, which are named alike.
        return
    conf.register_opts(OPTIONS, group=GROUP)
    loading.register_session_conf_options(conf, GROUP.name)
    loading.register_adapter_conf_options(
        conf, GROUP.name, include_deprecated=False
    )


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator and documentation."""
    common = loading.get_auth_common_conf_options()
    plugin = loading.get_auth_plugin_conf_options('v3password')
    session = loading.get_session_conf_options()
    adapter = loading.get_adapter_conf_options(include_deprecated=False)
    return [(GROUP, [*OPTIONS, *common, *plugin, *session, *adapter])]
