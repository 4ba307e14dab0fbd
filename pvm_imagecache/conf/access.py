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

"""Options of access control for the pvm-imagecache command."""

from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

LOCAL: Final = 'local'
KEYSTONE: Final = 'keystone'

OPTIONS: Final = [
    cfg.StrOpt(
        'auth_strategy',
        default=LOCAL,
        choices=[
            (
                LOCAL,
                'The operating system determines the roles. root, the owner '
                'of state_path and the members of admin_groups have the '
                'roles admin and reader; members of reader_groups have the '
                'role reader.',
            ),
            (
                KEYSTONE,
                'Keystone determines the roles: those of the user of '
                '--os-cloud or of the OS_* environment variables.',
            ),
        ],
        help="""
How the roles of the user of the pvm-imagecache command are determined.

The rules in policy_file define what a role may do.

Related options:

* admin_groups and reader_groups, for the value local
* keystone_auth_urls, for the value keystone
* policy_file
""",
    ),
    cfg.ListOpt(
        'admin_groups',
        default=['pvm_admin'],
        help="""
Groups of the operating system whose members may use every command.

Members of the group pvm_admin can change every disk through PowerVM,
with and without this option.

Related options:

* auth_strategy: this option has an effect only if it is local
""",
    ),
    cfg.ListOpt(
        'reader_groups',
        default=[],
        help="""
Groups of the operating system whose members may use the commands that
change nothing.

The members also need permission to read the configuration files and
state_path.

Related options:

* auth_strategy: this option has an effect only if it is local
* state_path
""",
    ),
    cfg.ListOpt(
        'keystone_auth_urls',
        default=[],
        help="""
URLs of the Keystone whose roles are accepted, as in OS_AUTH_URL.

An administrator of another cloud gets no role here. If the list is empty,
auth_url in the [glance] section is used.

Related options:

* auth_strategy: this option has an effect only if it is keystone
* [glance] auth_url
""",
    ),
    cfg.ListOpt(
        'keystone_domains',
        default=['default'],
        help="""
IDs of the domains whose roles the default access rules count.

A token counts if it is for the whole system, for one of these domains, or for
a project in one of them. The role admin in any other domain gives no access:
who administers that domain can give it to anybody. Rules in policy_file are
evaluated for tokens of all domains.

Related options:

* auth_strategy: this option has an effect only if it is keystone
* policy_file
""",
    ),
    cfg.StrOpt(
        'policy_file',
        default='/etc/pvm_imagecache/policy.yaml',
        help="""
File with the access rules that differ from the default rules: an absolute
path.

The file is optional. Only root, or the user of the command, may be able to
write the file and the directories above it. If it cannot be read, or if it is
unknown whether it exists, no command is allowed.

Related options:

* auth_strategy
""",
    ),
]


def register(conf: types.Conf) -> None:
    """Register the options; may be called repeatedly.

    :param conf: the configuration of the process.
    """
    registration.register(conf, cache.GROUP, OPTIONS)
