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

"""Shell patterns for names of images, matched in linear time.

Any tenant can name an image. The patterns of the modules re and fnmatch can
be made to compute for hours by one name, and nothing can interrupt them. Here
each star takes as little as possible, once, so a match takes a time that
grows with the length of the name only.
"""


def matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern.

    :param name: the name.
    :param pattern: text, in which ``*`` stands for any characters.
    :returns: whether the whole name matches.
    """
    first, *others = pattern.split('*')
    if not others:
        return name == pattern
    last = others.pop()
    if not name.startswith(first):
        return False
    at, end = len(first), len(name) - len(last)
    if at > end or not name.endswith(last):
        return False
    for part in others:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
