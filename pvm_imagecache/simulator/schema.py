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

"""How PowerVM documents are put together: order, attributes, nesting.

A type's layout is a small indented table (see schema_tables). Documents are
rendered from nested values in the table's order, whatever order the values
come in, and client documents are read back into such values. Nothing here
knows what an element means.
"""

from __future__ import annotations

import collections.abc
import dataclasses
from xml.sax import saxutils

from lxml import etree

WEB_NS = 'http://www.ibm.com/xmlns/systems/power/firmware/web/mc/2012_10/'
UOM_NS = 'http://www.ibm.com/xmlns/systems/power/firmware/uom/mc/2012_10/'
K2_NS = 'http://www.w3.org/XML/1998/namespace/k2'
NAMESPACES = {'uom': UOM_NS, 'web': WEB_NS}

# Read by every attribute group; an element without group belongs to it.
NO_GROUPS: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Link:
    """The value of an element that only points elsewhere."""

    href: str
    rel: str = 'related'
    title: str = ''


Value = (
    str
    | Link
    | collections.abc.Mapping[str, 'Value']
    | collections.abc.Sequence['Value']
)
Values = collections.abc.Mapping[str, Value]


@dataclasses.dataclass
class Node:
    """One element of a layout."""

    tag: str
    kb: str = ''
    kxe: bool = False
    ksv: str = ''
    group: str = ''
    metadata: bool = False
    children: dict[str, Node] = dataclasses.field(default_factory=dict)

    def attributes(self, version: str) -> str:
        parts = []
        if self.ksv:
            parts.append(f' ksv="{self.ksv}"')
        if self.group:
            parts.append(f' group="{self.group}"')
        if self.kb:
            kxe = str(self.kxe).lower()
            parts.append(f' kb="{self.kb}" kxe="{kxe}"')
        if self.metadata:
            parts.append(f' schemaVersion="{version}"')
        return ''.join(parts)

    def child(self, path: str) -> Node:
        """The node at a /-separated path below this one."""
        node = self
        for tag in path.split('/'):
            node = node.children[tag]
        return node


@dataclasses.dataclass(frozen=True)
class Layout:
    """A REST type: its name, service (uom or web), version and elements."""

    name: str
    service: str
    version: str
    root: Node

    @property
    def namespace(self) -> str:
        return NAMESPACES[self.service]

    def render(
        self,
        values: Values,
        atom: str,
        groups: frozenset[str] | None = NO_GROUPS,
    ) -> str:
        """The element as text.

        :param atom: what stands inside Metadata, see :func:`atom_metadata`.
        :param groups: extended attribute groups to include, None for all.
        """
        name, namespace = self.name, self.namespace
        out = [
            f'<{name}:{name} xmlns:{name}="{namespace}" xmlns="{namespace}"'
            f' xmlns:ns2="{K2_NS}" schemaVersion="{self.version}">'
            f'<Metadata>{atom}</Metadata>'
        ]
        _render_children(self.root, values, self.version, groups, out)
        out.append(f'</{name}:{name}>')
        return ''.join(out)

    def read(self, element: etree._Element) -> dict[str, Value]:
        """Nested values of a client's element; unknown elements are left."""
        return _read_children(self.root, element)


def atom_metadata(uuid: str, created_ms: int) -> str:
    return (
        f'<Atom><AtomID>{uuid}</AtomID>'
        f'<AtomCreated>{created_ms}</AtomCreated></Atom>'
    )


EMPTY_ATOM = '<Atom/>'


def table(name: str, service: str, version: str, text: str) -> Layout:
    """A layout from its indented table.

    Each line is ``Tag KB flags``: KB is the permission code that real
    answers carry (``-`` for none), flag ``*`` an element with Metadata and
    schemaVersion, ``!`` one whose kxe is true, ``@Group`` its extended
    attribute group, ``V1_x_0`` the schema version it came with (ksv).
    """
    root = Node(name, metadata=True)
    stack = [(-1, root)]
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        indent = len(line) - len(line.lstrip())
        while stack[-1][0] >= indent:
            stack.pop()
        node = _node(words)
        stack[-1][1].children[node.tag] = node
        stack.append((indent, node))
    return Layout(name, service, version, root)


def _node(words: list[str]) -> Node:
    node = Node(words[0])
    for word in words[1:]:
        if word == '*':
            node.metadata = True
        elif word == '!':
            node.kxe = True
        elif word.startswith('@'):
            node.group = word[1:]
        elif word.startswith('V1_'):
            node.ksv = word
        elif word != '-':
            node.kb = word
    return node


def _render_children(
    parent: Node,
    values: Values,
    version: str,
    groups: frozenset[str] | None,
    out: list[str],
) -> None:
    for tag, node in parent.children.items():
        value = values.get(tag)
        if value is None:
            continue
        if groups is not None and node.group and node.group not in groups:
            continue
        if isinstance(value, (str, Link, collections.abc.Mapping)):
            _render(node, value, version, groups, out)
        else:
            for item in value:
                _render(node, item, version, groups, out)


def _render(
    node: Node,
    value: Value,
    version: str,
    groups: frozenset[str] | None,
    out: list[str],
) -> None:
    attributes = node.attributes(version)
    if isinstance(value, str):
        if value:
            out.append(
                f'<{node.tag}{attributes}>'
                f'{saxutils.escape(value)}</{node.tag}>'
            )
        else:
            out.append(f'<{node.tag}{attributes}/>')
    elif isinstance(value, Link):
        title = (
            f' title={saxutils.quoteattr(value.title)}' if value.title else ''
        )
        out.append(
            f'<{node.tag}{attributes}'
            f' href={saxutils.quoteattr(value.href)}'
            f' rel="{value.rel}"{title}/>'
        )
    elif isinstance(value, collections.abc.Mapping):
        out.append(f'<{node.tag}{attributes}>')
        if node.metadata:
            out.append('<Metadata><Atom/></Metadata>')
        _render_children(node, value, version, groups, out)
        out.append(f'</{node.tag}>')


def local_name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _read_children(parent: Node, element: etree._Element) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for child in element.iterchildren(tag=etree.Element):
        node = parent.children.get(local_name(child))
        if node is None:
            continue
        value = _read(node, child)
        before = values.get(node.tag)
        if before is None:
            values[node.tag] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            values[node.tag] = [before, value]
    return values


def _read(node: Node, element: etree._Element) -> Value:
    href = element.get('href')
    if href is not None:
        return Link(
            href, element.get('rel') or 'related', element.get('title') or ''
        )
    if node.children:
        return _read_children(node, element)
    return (element.text or '').strip()
