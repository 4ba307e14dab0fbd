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

"""The environment of a command that runs on behalf of another user.

sudo can be configured to keep any variable. Libraries obey dozens: proxies,
certificate bundles, files that they write. Therefore only those are kept
that cannot give the caller anything; all others are removed, before the
libraries are imported.
"""

from collections.abc import MutableMapping
import os
import pwd
import re
import site
import sys
from typing import Final

from pvm_imagecache.system import caller as caller_module

_KEPT: Final = frozenset(
    (
        'CLIFF_FIT_WIDTH',
        'CLIFF_MAX_TERM_WIDTH',
        'COLUMNS',
        'DOAS_USER',
        'LINES',
        'NO_COLOR',
        'PKEXEC_UID',
        'SUDO_GID',
        'SUDO_UID',
        'SUDO_USER',
        'TERM',
    )
)
_LOCALE: Final = re.compile(r'LANG|LC_[A-Z]+')
_LOCALE_NAME: Final = re.compile(r'[A-Za-z0-9_.@-]*')
#: Credentials. OS_GROUP__OPTION would be an option of oslo.config.
_CREDENTIAL: Final = re.compile(r'OS_(?!.*__)[A-Z0-9_]+')
#: No file can be below this one: libraries do without a cache.
_NO_DIRECTORY: Final = '/dev/null'


def restrict() -> None:
    """Remove what could change this process on behalf of its caller.

    Without another user behind this process nothing is changed. Otherwise
    variables, and directories of Python modules that the caller could have
    chosen, are removed; stevedore's cache, .netrc and pagers are disabled.
    """
    if caller_module.current() is None:
        return
    _restrict_modules(os.environ.get('PYTHONPATH', ''))
    _restrict_variables(os.environ)


def _restrict_variables(environment: MutableMapping[str, str]) -> None:
    for name, value in list(environment.items()):
        if not (
            name in _KEPT
            or _CREDENTIAL.fullmatch(name)
            or (_LOCALE.fullmatch(name) and _LOCALE_NAME.fullmatch(value))
        ):
            del environment[name]
    environment['PATH'] = '/usr/sbin:/usr/bin:/sbin:/bin'
    environment['HOME'] = _home()
    environment['XDG_CACHE_HOME'] = _NO_DIRECTORY
    environment['NETRC'] = os.devnull
    # The help is shown in a pager, and those start shells.
    environment['PAGER'] = 'cat'
    environment['LESSSECURE'] = '1'
    loaded = sys.modules.get('stevedore._cache')
    if loaded is not None and hasattr(loaded, '_c'):
        # It has read the variable already.
        loaded._c._dir = _NO_DIRECTORY


def _restrict_modules(python_path: str) -> None:
    here = _current_directory()
    chosen = {site.getusersitepackages()}
    if python_path:
        # An empty entry is the current directory.
        chosen |= {
            os.path.normpath(os.path.join(here, each))
            for each in python_path.split(os.pathsep)
        }
    # "python -m" begins with the current directory. Elsewhere in the list
    # it is a directory of this installation that the caller works in.
    first = sys.path[:1]
    sys.path[:] = [
        each
        for each in (sys.path[1:] if first == [here] else sys.path)
        if each.startswith('/')
        and os.path.abspath(each) not in chosen
        # Import hooks of packages that are installed in place.
        or each.startswith('__editable__')
    ]
    sys.path_importer_cache.clear()


def _current_directory() -> str:
    """Return the current directory; '' if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ''


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return '/'
