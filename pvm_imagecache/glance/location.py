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

"""Where Glance is, according to the options and to a service catalog."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Final

from keystoneauth1.access import service_catalog

from pvm_imagecache.glance import endpoints

#: As in nova, if no interface is configured. That of keystoneauth1 is public.
DEFAULT_INTERFACES: Final = ('internal', 'public')


@dataclasses.dataclass(frozen=True)
class Location:
    """What determines the address of Glance.

    :ivar servers: addresses of Glance that are configured; if empty, the
        service catalog has the address.
    :ivar region: region in the service catalog; None for any.
    :ivar interfaces: interfaces in the service catalog, the preferred one
        first; if empty, :data:`DEFAULT_INTERFACES`.
    :ivar service_type: type of the service in the catalog.
    :ivar service_name: name of the service in the catalog; None for any.
    """

    servers: Sequence[str] = ()
    region: str | None = None
    interfaces: Sequence[str] = ()
    service_type: str = 'image'
    service_name: str | None = None


def from_options(options: Any, user: Location | None = None) -> Location:
    """Return the location that is configured.

    ``api_servers`` takes precedence over ``endpoint_override``, as in nova.

    :param options: the options of ``[glance]``.
    :param user: what the user of the command has configured in clouds.yaml
        or in environment variables. An option that is set takes precedence.
    :returns: the location.
    """
    user = user or Location()
    servers = list(options.api_servers or ())
    if not servers and options.endpoint_override:
        servers = [options.endpoint_override]
    return Location(
        servers or user.servers,
        options.region_name or user.region,
        options.valid_interfaces or user.interfaces or DEFAULT_INTERFACES,
        options.service_type or user.service_type,
        options.service_name or user.service_name,
    )


def is_ambiguous(
    location: Location, catalog: service_catalog.ServiceCatalog
) -> bool:
    """Check if a catalog has several addresses, and no region is chosen.

    :param location: what is searched for.
    :param catalog: the service catalog.
    :returns: True if different regions have different addresses for the
        interface that is used.
    """
    if location.region or location.servers:
        return False
    found = catalog.get_endpoint_data_list(
        service_type=location.service_type,
        service_name=location.service_name,
        interface=list(location.interfaces),
    )
    # All of them have the interface that is preferred among those found.
    return (
        len({endpoints.without_version(each.url or '') for each in found}) > 1
    )


def missing(
    location: Location, catalog: service_catalog.ServiceCatalog | None
) -> str:
    """Return why a catalog has no address of Glance.

    :param location: what was searched for.
    :param catalog: the service catalog, if it is known.
    :returns: the reason, as the object of a sentence.
    """
    searched = (
        f'no address of the {location.service_type} service for the '
        f'interface {" or ".join(location.interfaces)}'
    )
    if location.region:
        searched += f' in region "{location.region}"'
    if location.service_name:
        searched += f' with the name "{location.service_name}"'
    if catalog is None:
        return searched
    return f'{searched}; it has {regions(location, catalog)}'


def regions(
    location: Location, catalog: service_catalog.ServiceCatalog
) -> str:
    """Return the regions of Glance in a catalog, with their interfaces.

    :param location: the type of the service.
    :param catalog: the service catalog.
    :returns: the regions, for a message.
    """
    found: dict[str, set[str]] = {}
    for each in catalog.get_endpoint_data_list(
        service_type=location.service_type, interface=None
    ):
        # A malformed catalog can have anything there.
        found.setdefault(str(each.region_name or 'no region'), set()).add(
            str(each.interface or '').removesuffix('URL')
        )
    if found:
        return ', '.join(
            f'{region} ({", ".join(sorted(interfaces))})'
            for region, interfaces in sorted(found.items())
        )
    if not catalog.catalog:
        return (
            'no services at all: the token is not for a project, or the '
            'project has no access to services'
        )
    return 'no such service'
