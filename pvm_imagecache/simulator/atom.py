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

"""Atom entries and feeds, entity tags and error entries.

The frame around every document, as recorded from real servers. What a
document holds is the business of the modules that own it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import uuid as uuidlib
from xml.sax import saxutils
import zlib

from pvm_imagecache.simulator import body
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables

GENERATOR = 'IBM Power Systems Management Console'
CONTENT_TYPE = 'application/atom+xml'
_PRELUDE = (
    'xmlns="http://www.w3.org/2005/Atom" '
    'xmlns:ns2="http://a9.com/-/spec/opensearch/1.1/" '
    'xmlns:ns3="http://www.w3.org/1999/xhtml"'
)
_AUTHOR = f'<author><name>{GENERATOR}</name></author>'


@dataclasses.dataclass(frozen=True)
class Document:
    """One resource, ready to be sent: its content and what identifies it."""

    layout: schema.Layout
    uuid: str
    values: schema.Values
    created_ms: int
    # Jobs have no atom metadata of their own, web resources no SELF link.
    has_atom_id: bool = True

    def content(self, groups: frozenset[str] | None) -> str:
        inner = (
            schema.atom_metadata(self.uuid, self.created_ms)
            if self.has_atom_id
            else schema.EMPTY_ATOM
        )
        return self.layout.render(self.values, inner, groups)


def etag(content: str, group: str) -> str:
    """A signed 32 bit number like real ones; it depends on ?group=."""
    number = zlib.crc32(group.encode(), zlib.crc32(content.encode()))
    return str(number - (1 << 32) if number >= 1 << 31 else number)


def now() -> str:
    stamp = datetime.datetime.now(datetime.UTC).isoformat(
        timespec='milliseconds'
    )
    return stamp.replace('+00:00', 'Z')


def entry(
    document: Document,
    content: str,
    tag: str | None,
    links: collections.abc.Sequence[str],
    *,
    embedded: bool,
) -> str:
    """:param embedded: the entry stands in a feed, not alone."""
    layout = document.layout
    prelude = '' if embedded else ' ' + _PRELUDE
    out = [
        f'<entry{prelude}><id>{document.uuid}</id>'
        f'<title>{layout.name}</title><published>{now()}</published>'
    ]
    out.extend(links)
    out.append(_AUTHOR)
    if tag is not None:
        out.append(
            f'<etag:etag xmlns:etag="{schema.UOM_NS}" '
            f'xmlns="{schema.UOM_NS}">{tag}</etag:etag>'
        )
    out.append(
        f'<content type="application/vnd.ibm.powervm.{layout.service}+xml; '
        f'type={layout.name}">{content}</content></entry>'
    )
    return ''.join(out)


def feed(
    feed_id: str,
    links: collections.abc.Sequence[str],
    entries: collections.abc.Iterable[str],
) -> str:
    return ''.join(
        [
            f'<feed {_PRELUDE}><id>{feed_id}</id><updated>{now()}</updated>',
            *links,
            f'<generator>{GENERATOR}</generator>',
            *entries,
            '</feed>',
        ]
    )


def link(rel: str, href: str) -> str:
    return f'<link rel="{rel}" href={saxutils.quoteattr(href)}/>'


def error_entry(
    error: errors.RestError, path: str, headers: body.Headers
) -> str:
    """An HttpErrorResponse entry; the token is masked as in real ones."""
    shown = ', '.join(
        f'{name}={"*******" if name.lower() == "x-api-session" else value}'
        for name, value in headers.items()
    )
    document = Document(
        schema_tables.HTTP_ERROR,
        str(uuidlib.uuid4()),
        {
            'HTTPStatus': str(error.status),
            'RequestURI': path.partition('?')[0],
            'ReasonCode': error.reason_code,
            'Message': error.message,
            'RequestBody': '',
            'RequestHeaders': '{' + shown + '}',
        },
        0,
        has_atom_id=False,
    )
    return entry(document, document.content(None), None, (), embedded=False)
