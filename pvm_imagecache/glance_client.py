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

"""glanceclients from the ``[glance]`` options of the configuration."""

from collections.abc import Callable
import functools
from typing import Any
from typing import Final

import glanceclient
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import loading

from pvm_imagecache.conf import glance
from pvm_imagecache import exceptions


#: Seconds for which Glance may be silent, unless ``timeout`` is set.
DEFAULT_TIMEOUT: Final = 60


def factory(conf: Any) -> Callable[[Any], Any]:
    """A maker of clients for :class:`image_source.ImageSource`.

    The client has the configured credentials, whatever the context; it is
    made when the first image is looked up.

    :raises ConfigurationError: when called, if the options make no sense.
    """
    @functools.cache
    def client() -> Any:
        glance.register(conf)
        try:
            auth = loading.load_auth_from_conf_options(conf, 'glance')
            # Without a bound a silent Glance would hold a deploy for ever.
            session = loading.load_session_from_conf_options(
                conf, 'glance', auth=auth,
                timeout=conf.glance.timeout or DEFAULT_TIMEOUT)
        except (ksa_exceptions.ClientException, OSError) as error:
            raise exceptions.ConfigurationError(
                reason=f'The options in [glance] can not be used: {error}'
            ) from error
        if auth is None:
            raise exceptions.ConfigurationError(
                reason='auth_type in [glance] is not set: without '
                       'credentials no image can be read. Set auth_type '
                       '(for example "password"), auth_url, username, '
                       'password and project_name there.')
        return glanceclient.Client(
            '2', session=session, **_where(conf.glance))
    return lambda context: client()


def _where(options: Any) -> dict[str, Any]:
    """The arguments that tell a client where Glance is."""
    override = options.endpoint_override or next(
        iter(options.api_servers), None)
    return {
        'service_type': options.service_type or 'image',
        'service_name': options.service_name,
        'interface': list(options.valid_interfaces or ()) or 'public',
        'region_name': options.region_name,
        'endpoint_override': override,
    }
