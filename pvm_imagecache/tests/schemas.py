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

"""What every command prints with ``-f json``, as JSON Schema.

The manual promises it: a field is never renamed, never changes its type, and
never goes without a release note. That a field is in here is checked against
the columns that the commands declare.
"""

from typing import Any

_TEXT = {'type': 'string'}
_MAYBE_TEXT = {'type': ['string', 'null']}
_COUNT = {'type': 'integer', 'minimum': 0}
_BYTES = {'type': 'integer', 'minimum': 0}
_MAYBE_BYTES = {'type': ['integer', 'null'], 'minimum': 0}
_MAYBE_SECONDS = {'type': ['number', 'null']}
_BOOLEAN = {'type': 'boolean'}
_UUID = {
    'type': 'string',
    'pattern': '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$',
}
_MAYBE_UUID = {**_UUID, 'type': ['string', 'null']}
#: Why an image goes or stays.
_CODE = {'type': 'string', 'pattern': '^[a-z]+(-[a-z]+)*$'}
_MAYBE_CODE = {**_CODE, 'type': ['string', 'null']}
#: ISO 8601 in UTC, in whole seconds.
_TIME = {
    'type': 'string',
    'pattern': r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$',
}
_MAYBE_TIME = {**_TIME, 'type': ['string', 'null']}


def _one(**fields: Any) -> dict[str, Any]:
    return {
        'type': 'object',
        'properties': fields,
        'required': list(fields),
        'additionalProperties': False,
    }


def _rows(fields: dict[str, Any]) -> dict[str, Any]:
    return {'type': 'array', 'items': _one(**fields)}


_NAMED = {'ID': _UUID, 'Name': _MAYBE_TEXT}
_LIST = {
    **_NAMED,
    'State': {'enum': ['populating', 'ready', 'evicting', 'quarantined']},
    'Size': _BYTES,
    'Hits': _COUNT,
    'Last Accessed': _MAYBE_TIME,
}
_LONG = {
    **_LIST,
    'Last Modified': _MAYBE_TIME,
    'Disk Size': _MAYBE_BYTES,
    'Disk': _TEXT,
    'Pinned': _BOOLEAN,
    'In Use': _BOOLEAN,
}
_CHANGED = _rows({**_NAMED, 'Result': _TEXT})

_FACTS = _rows(
    {
        'Fact': {'type': 'string', 'pattern': '^[a-z]+(_[a-z0-9]+)*$'},
        'Value': {'type': ['boolean', 'integer', 'string', 'null']},
        'State': {'enum': ['measured', 'out-of-date', 'unknown']},
        'Measured At': _MAYBE_TIME,
        'Effect': _TEXT,
        'Reason': _TEXT,
        'Platform': _TEXT,
    }
)

#: By command, with the option that changes what it prints.
SCHEMAS: dict[str, dict[str, Any]] = {
    'list': _rows(_LIST),
    'list --long': _rows(_LONG),
    'show': _one(
        id=_UUID,
        name=_MAYBE_TEXT,
        state=_LIST['State'],
        reason=_MAYBE_TEXT,
        disk=_TEXT,
        udid=_MAYBE_TEXT,
        disk_size=_MAYBE_BYTES,
        size=_BYTES,
        virtual_size=_MAYBE_BYTES,
        disk_format={'enum': ['raw', 'qcow2']},
        os_hash_algo=_MAYBE_TEXT,
        os_hash_value=_MAYBE_TEXT,
        checksum=_MAYBE_TEXT,
        hits=_COUNT,
        bytes_done=_BYTES,
        fetched_by=_TEXT,
        created_at=_TIME,
        ready_at=_MAYBE_TIME,
        last_accessed=_MAYBE_TIME,
        last_seen_in_use=_MAYBE_TIME,
        pinned_by=_MAYBE_TEXT,
        pin_note=_MAYBE_TEXT,
        pinned_until=_MAYBE_TIME,
    ),
    'usage': _one(
        pool=_TEXT,
        pool_size=_BYTES,
        pool_used=_BYTES,
        pool_free=_BYTES,
        pool_disks={'type': ['integer', 'null']},
        pool_max_disks={'type': ['integer', 'null']},
        cached_images={'type': ['integer', 'null']},
        cache_size=_MAYBE_BYTES,
        hits=_COUNT,
        misses=_COUNT,
        bypasses=_COUNT,
        prefetches=_COUNT,
        evictions=_COUNT,
        purges=_COUNT,
        bytes_from_glance=_BYTES,
        bytes_saved=_BYTES,
        seconds_saved=_MAYBE_SECONDS,
        last_run=_MAYBE_TIME,
        last_run_error=_MAYBE_TEXT,
        catalog_id={'type': ['string', 'null'], 'pattern': '^[0-9a-f]{32}$'},
        other_catalogs={
            'type': 'array',
            'items': {
                'type': 'object',
                'properties': {
                    'catalog': {'type': 'string', 'pattern': '^[0-9a-f]{8}$'},
                    'base_images': _COUNT,
                    'other_disks': _COUNT,
                },
                'required': ['catalog', 'base_images', 'other_disks'],
                'additionalProperties': False,
            },
        },
        platform_facts={'enum': ['measured', 'out-of-date', 'unknown', None]},
    ),
    'history': _rows(
        {
            'Time': _TIME,
            'User': _TEXT,
            'Action': _TEXT,
            'Image': _MAYBE_UUID,
            'Name': _MAYBE_TEXT,
            'Disk': _MAYBE_TEXT,
            'Fetched': _MAYBE_BYTES,
            'Saved': _MAYBE_BYTES,
            'Seconds': _MAYBE_SECONDS,
            'Code': _MAYBE_CODE,
            'Reason': _MAYBE_TEXT,
        }
    ),
    'explain': _one(
        id=_UUID,
        name=_MAYBE_TEXT,
        verdict=_TEXT,
        policy=_MAYBE_TEXT,
        code=_CODE,
        pinned_by=_MAYBE_TEXT,
        pin_note=_MAYBE_TEXT,
        pinned_until=_MAYBE_TIME,
        last_seen_in_use=_MAYBE_TIME,
        last_accessed=_MAYBE_TIME,
    ),
    'prefetch': _rows(
        {
            **_NAMED,
            'Result': _TEXT,
            'Fetched': _MAYBE_BYTES,
            'Seconds': _MAYBE_SECONDS,
            'Disk': _MAYBE_TEXT,
        }
    ),
    'pin': _CHANGED,
    'unpin': _CHANGED,
    'evict': _rows(
        {
            **_NAMED,
            'Disk Size': _BYTES,
            'Policy': _TEXT,
            'Code': _CODE,
            'Reason': _TEXT,
            'Result': _TEXT,
        }
    ),
    'purge': _rows({**_NAMED, 'Disk Size': _MAYBE_BYTES, 'Result': _TEXT}),
    'verify': _rows(
        {
            'ID': _MAYBE_UUID,
            'Name': _MAYBE_TEXT,
            'Disk': _TEXT,
            'Result': _TEXT,
            'Glance': _MAYBE_TEXT,
        }
    ),
    'adopt': _rows(
        {**_NAMED, 'Disk': _TEXT, 'Disk Size': _BYTES, 'Result': _TEXT}
    ),
    'platform check': _FACTS,
    'platform show': _FACTS,
    'plugin list': _rows(
        {
            'Kind': {'enum': ['driver', 'eviction', 'listener', 'command']},
            'Namespace': _TEXT,
            'Name': _TEXT,
            'Enabled': _BOOLEAN,
            'State': {
                'enum': [
                    'enabled',
                    'available',
                    'refused',
                    'broken',
                    'misconfigured',
                    'missing',
                ]
            },
            'Package': _TEXT,
            'Version': _TEXT,
            'Class': _TEXT,
            'Error': _TEXT,
        }
    ),
    'disk create': _one(
        name=_TEXT,
        udid=_TEXT,
        size=_BYTES,
        image=_UUID,
        image_size=_BYTES,
        outcome={'enum': ['hit', 'miss', 'bypass', 'shared-pool']},
        reason=_TEXT,
        bytes_from_glance=_BYTES,
        seconds={'type': 'number'},
    ),
}


def columns(command: str) -> list[str]:
    """The fields that a command prints, in their order."""
    schema = SCHEMAS[command]
    return list(schema.get('items', schema)['properties'])
