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

"""Glance with the options of nova and the token of a request."""

from typing import Any

import nova.conf

from nova import service_auth
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source


def source() -> image_source.ImageSource:
    """Return a source of images.

    It connects according to ``[glance]`` of nova, with the permissions of
    the user of each request.

    :returns: the source; no request is made.
    """
    return image_source.ImageSource(
        client.factory(nova.conf.CONF, auth_of=_auth_of),
        not nova.conf.CONF.workarounds.disable_deep_image_inspection,
    )


def _auth_of(context: Any) -> Any:
    # With [service_user], a request may outlive the token of its user.
    return service_auth.get_service_user_token_auth_plugin(context)
