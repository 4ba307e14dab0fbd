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

"""The options of ``[pvm_imagecache]`` about who may use the admin shell."""

from typing import Any
from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import cache

LOCAL: Final = 'local'
KEYSTONE: Final = 'keystone'

OPTIONS: Final = [
    cfg.StrOpt(
        'auth_strategy',
        default=LOCAL,
        choices=[
            (
                LOCAL,
                'The operating system tells: root, the owner of '
                'state_path and the members of admin_groups have the '
                'roles admin and reader, members of reader_groups the '
                'role reader',
            ),
            (
                KEYSTONE,
                'Keystone tells: the roles are those of the user '
                'whom --os-cloud or the variables OS_* name',
            ),
        ],
        help='Who tells which roles the user of the command pvm-imagecache '
        'has. The rules of policy_file say what a role may do.',
    ),
    cfg.ListOpt(
        'admin_groups',
        default=['pvm_admin'],
        help='For auth_strategy = local: groups of the operating system '
        'whose members may use every command. The members of '
        'pvm_admin can change every disk through PowerVM anyway.',
    ),
    cfg.ListOpt(
        'reader_groups',
        default=[],
        help='For auth_strategy = local: groups of the operating system '
        'whose members may use the commands that change nothing. They '
        'need the right to read the configuration and state_path.',
    ),
    cfg.ListOpt(
        'keystone_auth_urls',
        default=[],
        help='For auth_strategy = keystone: the addresses of the Keystone '
        'whose word counts, as users may have them in OS_AUTH_URL: '
        'being the admin of another cloud gives no rights here. By '
        'default auth_url in [glance].',
    ),
    cfg.StrOpt(
        'policy_file',
        default='/etc/pvm_imagecache/policy.yaml',
        help='The file with the rules that differ from the default. It need '
        'not be there.',
    ),
]


def register(conf: Any) -> None:
    """Register the options with a ConfigOpts; may be done repeatedly."""
    conf.register_opts(OPTIONS, group=cache.GROUP.name)
