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

"""What the conformance suites have in common."""

from collections.abc import Callable
from typing import Any
from typing import cast
import unittest


def case(test: object) -> unittest.TestCase:
    """Return the TestCase that a suite is mixed into.

    :param test: the suite.
    :returns: the same object.
    """
    return cast(unittest.TestCase, test)


def raised(
    test: object, kind: type[BaseException], call: Callable[..., object]
) -> Any:
    """Return the error that a call must raise.

    :param test: the suite.
    :param kind: class of the error.
    :param call: is called without arguments.
    :returns: the error.
    :raises AssertionError: if it does not raise one.
    """
    # Not the method of the test case itself: that of testtools 2.7, which
    # OpenStack 2025.1 has, is no context manager.
    with unittest.TestCase.assertRaises(case(test), kind) as caught:
        call()
    return caught.exception
