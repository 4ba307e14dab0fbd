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

"""Configuration files that the caller of a command under sudo names.

The configuration decides who may do what, and where passwords are sent. A
file that the caller names is accepted if all of these hold:

* only root can change it;
* it is a configuration of this project;
* if there are default files, it gives the same access as they do.
"""

from collections.abc import Sequence
import glob
import os
import stat
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import caller as caller_module

if TYPE_CHECKING:
    from oslo_config import cfg

_SECTION: Final = 'pvm_imagecache'
_ACCESS: Final = (
    'auth_strategy',
    'admin_groups',
    'reader_groups',
    'keystone_auth_urls',
    'keystone_domains',
    'policy_file',
)


def check_files(
    files: Sequence[str],
    directories: Sequence[str],
    caller: caller_module.Caller,
) -> None:
    """Check that only root can change files that a caller named.

    :param files: paths of configuration files.
    :param directories: paths of directories with configuration files.
    :param caller: the user on whose behalf this process runs.
    :raises ConfigurationRefused: if another user can change one of them, or
        if one is not a regular file.
    """
    # A process of nova can be given nova's files.
    owners = (0, os.geteuid())
    found = [*files]
    for each in directories:
        found += [each, *sorted(glob.glob(os.path.join(each, '*.conf')))]
    for each in found:
        path = os.path.abspath(each)
        try:
            caller_module.check_trusted(path, owners)
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and each not in directories:
                raise OSError(0, 'it is not a regular file')
        except OSError as error:
            raise exceptions.ConfigurationRefused(
                path=each,
                user=caller.name,
                reason=error.strerror or text.one_line(error),
            ) from error


def check_access(
    chosen: 'cfg.ConfigOpts',
    default: 'cfg.ConfigOpts | None',
    files: Sequence[str],
    caller: caller_module.Caller,
) -> None:
    """Check that a chosen configuration gives the same access.

    :param chosen: the configuration of the files that a caller named.
    :param default: that of the default files; None if there are none.
    :param files: the files and directories that the caller named.
    :param caller: the user on whose behalf this process runs.
    :raises ConfigurationRefused: if it is no configuration of this project,
        or gives other access than the default files.
    """
    named = ', '.join(files)
    # Any file with nothing but comments would mean defaults.
    if not _sets_anything(chosen):
        raise exceptions.ConfigurationRefused(
            path=named,
            user=caller.name,
            reason=f'it sets no option in [{_SECTION}]',
        )
    if default is None:
        return
    for name in _ACCESS:
        if chosen[_SECTION][name] != default[_SECTION][name]:
            raise exceptions.ConfigurationRefused(
                path=named,
                user=caller.name,
                reason=f'{name} is not the same in the default files',
            )
    if _keystone(chosen) != _keystone(default):
        raise exceptions.ConfigurationRefused(
            path=named,
            user=caller.name,
            reason='auth_url in [glance] is not the same in the default files',
        )


def _sets_anything(conf: 'cfg.ConfigOpts') -> bool:
    from oslo_config import cfg

    for name in conf[_SECTION]:
        found = conf.get_location(name, _SECTION)
        if found is not None and found.location == cfg.Locations.user:
            return True
    return False


def _keystone(conf: 'cfg.ConfigOpts') -> list[str]:
    """Return the Keystone that is trusted if keystone_auth_urls is empty."""
    from pvm_imagecache.conf import access
    from pvm_imagecache.glance import client

    options = conf.pvm_imagecache
    if options.auth_strategy != access.KEYSTONE or options.keystone_auth_urls:
        return []
    return client.auth_urls(conf)
