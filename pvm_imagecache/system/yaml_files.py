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

"""YAML files of users, with bounded memory and time.

A YAML file of a few lines can describe a tree of billions of nodes, or one
without an end, by references.
"""

from typing import Any
from typing import Final
from typing import TextIO

import yaml

#: Characters of a file.
MAX_SIZE: Final = 256 * 1024
#: Nodes of the tree, with all references replaced by what they refer to.
MAX_NODES: Final = 50_000
#: Levels of the tree.
MAX_DEPTH: Final = 50


class TooLarge(yaml.YAMLError):
    """A file, or the tree that it describes, is too large or has no end."""


def load(file: TextIO, *, unique: bool = False) -> Any:
    """Return the content of a YAML file.

    :param file: the file, open for reading.
    :param unique: whether a key of the file that occurs twice is an error;
        otherwise the last one counts.
    :returns: the content, of plain types.
    :raises TooLarge: if it is too large, too deep, or contains itself.
    :raises yaml.YAMLError: if it is not valid.
    :raises OSError: if it cannot be read.
    :raises UnicodeDecodeError: if it is not text.
    """
    text = file.read(MAX_SIZE + 1)
    if len(text) > MAX_SIZE:
        raise TooLarge(f'it has more than {MAX_SIZE} characters')
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _nodes(node, {}, 0) > MAX_NODES:
            raise TooLarge(f'it describes more than {MAX_NODES} nodes')
        if unique:
            _check_unique(node)
        return loader.construct_document(node)
    except (RecursionError, ValueError, OverflowError) as error:
        # Deep nesting, and numbers or dates that are none.
        raise yaml.YAMLError('it has values that cannot be read') from error
    finally:
        loader.dispose()


def _check_unique(node: yaml.Node) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise yaml.YAMLError(f'"{key.value}" is in it twice')
        seen.add(str(key.value))


def _nodes(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return the nodes of a tree; each node is visited once.

    :param known: counts by the identity of nodes; 0 while one is counted.
    """
    if depth > MAX_DEPTH:
        raise TooLarge(f'it is nested more than {MAX_DEPTH} levels deep')
    if id(node) in known:
        if not known[id(node)]:
            raise TooLarge('it contains itself')
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    found = 1 + sum(_nodes(each, known, depth + 1) for each in children)
    known[id(node)] = found
    return found
