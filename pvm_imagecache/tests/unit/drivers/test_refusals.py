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


"""Tests of what the words of refusals mean."""

from oslotest import base

from pvm_imagecache.drivers import refusals

_HTTP = (
    'HTTP error 500 for method POST on path /rest/api/uom/VirtualIOServer/'
    '5AF3-11/VolumeGroup/9: Internal Server Error -- '
)
_MKLV = '0516-822 mklv: Unable to create logical volume.'
_ALLOCP = '0516-404 allocp: This system cannot fulfill the request.'
_NAME = '0516-360 getlvname: The device name {} is already used.'
_VOLUMES = '0516-814 mklv: No other physical volumes are available.'
_POOL = 'Insufficient blocks in the pool NAME: 7 wanted, 5 free.'


class MessageTest(base.BaseTestCase):
    def test_only_what_the_server_says_is_left(self):
        self.assertEqual(_MKLV, refusals.message_of(_HTTP + _MKLV))
        self.assertEqual(
            _MKLV,
            refusals.message_of(f'PowerVM refused to: {_HTTP}{_MKLV}'),
        )
        self.assertEqual('a -- b', refusals.message_of('a -- b'))

    def test_names_are_replaced_where_they_are_whole(self):
        self.assertEqual(
            'NAME and NAME, not vg12 or avg1 of "NAME"',
            refusals.without_names(
                'vg1 and vg1_x, not vg12 or avg1 of "vg1"', ['vg1', 'vg1_x']
            ),
        )


class IsLikeTest(base.BaseTestCase):
    def test_codes_of_aix_decide(self):
        learned, other = f'{_VOLUMES} {_MKLV}', f'{_NAME} {_MKLV}'
        for message, expected in (
            (f'{_HTTP}{_VOLUMES} {_MKLV}', True),
            (f'0516-814 mklv: Keine Platten. {_MKLV}', True),
            (_HTTP + _MKLV, False),
            (_HTTP + _NAME.format('vm1') + _MKLV, False),
            (_HTTP + _ALLOCP, False),
            ('No other physical volumes are available.', False),
        ):
            self.assertEqual(
                expected, refusals.is_like(message, learned, other), message
            )

    def test_what_ends_every_refusal_says_nothing(self):
        self.assertFalse(refusals.is_like(_MKLV, _MKLV, None))
        self.assertFalse(refusals.is_like(_MKLV, _MKLV, _MKLV))
        self.assertFalse(refusals.is_like(_MKLV, '', None))
        self.assertFalse(refusals.is_like('', None, None))

    def test_without_another_refusal_nothing_is_known(self):
        # The platform may say this for every reason.
        generic = 'The request could not be completed by the VIOS.'
        for learned in (generic, f'{_VOLUMES} {_MKLV}'):
            for unlike in (None, ''):
                self.assertFalse(refusals.is_like(learned, learned, unlike))
            self.assertTrue(refusals.is_like(learned, learned, _NAME))

    def test_words_in_common_with_another_refusal_say_nothing(self):
        same = f'{_VOLUMES} {_MKLV}'
        self.assertFalse(refusals.is_like(same, same, same))
        same = 'It did not work at all'
        self.assertTrue(refusals.is_like(same, same, _NAME))
        self.assertFalse(refusals.is_like(same, same, same))

    def test_without_codes_the_words_decide_but_not_names_and_numbers(self):
        for message, expected in (
            ('Insufficient blocks in the pool cachevg: 90 wanted, 3 free.', 1),
            (
                _HTTP
                + 'Insufficient blocks in the pool x_1: 9 wanted, 0 free',
                1,
            ),
            ('Insufficient blocks in the pool cachevg.', 0),
            ('The pool cachevg has no blocks: 90 wanted, 3 free.', 0),
            (_MKLV, 0),
        ):
            self.assertEqual(
                bool(expected),
                refusals.is_like(message, _POOL, _NAME, ['cachevg']),
                message,
            )

    def test_the_names_of_new_disks_do_not_matter(self):
        learned = 'A disk named NAME exists already in the group NAME.'
        self.assertTrue(
            refusals.is_like(
                'A disk named web exists already in the group rootvg.',
                learned,
                _POOL,
                ['web', 'rootvg'],
            )
        )
