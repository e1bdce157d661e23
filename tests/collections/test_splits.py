# Licensed under a 3-clause BSD style license - see LICENSE
"""
Fields and splits: what stays together, fractions, repeatability, files.
"""

import numpy as np
import pytest

from astropy_n2v.collections import (
    Split,
    check_manifest,
    find_fields,
    read_manifest,
    split_manifest,
    usable,
    write_manifest,
)
from astropy_n2v.collections.columns import make_table

PLACE = {'shape': '1000x1000', 'pixel_scale': 0.36, 'dec': 60.0}   # 0.1 degrees on a side


def frames(*rows):
    """Make a catalogue of usable frames, each with its own content unless a row says otherwise."""
    return make_table([{'path': f'{n}.fits', 'sha1': f'{n:040x}', 'noise': 5.0, **row} for n, row in enumerate(rows)])


def fields_of(*rows):
    return find_fields(frames(*rows)).tolist()


class TestFields:
    def test_overlapping_frames(self):
        # Degrees of right ascension are half as long at this declination; 0 and 360 are the same.
        assert fields_of(*({**PLACE, 'ra': ra} for ra in (10, 10.18, 10.22, 0.02, 359.9))) == [0, 0, 0, 1, 1]
        assert fields_of(*({**PLACE, 'ra': ra} for ra in (10, 10.22))) == [0, 1]

    def test_frames_of_different_sizes(self):
        assert fields_of({**PLACE, 'ra': 10}, {**PLACE, 'ra': 10.5, 'pixel_scale': 1.8}) == [0, 0]

    def test_poles(self):
        assert fields_of({**PLACE, 'ra': 10, 'dec': 89.99}, {**PLACE, 'ra': 190, 'dec': 89.99}) == [0, 0]

    def test_separation_is_given(self):
        manifest = frames({**PLACE, 'ra': 10}, {**PLACE, 'ra': 10.5}, {**PLACE, 'ra': 11.1})
        assert find_fields(manifest, separation=0.26).tolist() == [0, 0, 1]
        with pytest.raises(ValueError, match='separation must be a positive number'):
            find_fields(manifest, separation=0)

    def test_object_counts_where_there_is_no_wcs(self):
        assert fields_of({'object': 'M 13'}, {'object': 'm_13'}, {'object': 'M 14'}) == [0, 0, 1]
        assert fields_of({'object': 'M 13', **PLACE, 'ra': 10}, {'object': 'M13'}) == [0, 0]
        assert fields_of({'object': 'survey', **PLACE, 'ra': 10}, {'object': 'survey', **PLACE, 'ra': 20}) == [0, 1]
        assert fields_of({'object': ''}, {'object': ''}, {'object': 'FLAT'}, {'object': 'flat'}) == [0, 1, 2, 3]

    def test_file_and_content(self):
        assert fields_of({'path': 'a.fits', 'ext': 1}, {'path': 'a.fits', 'ext': 2}, {}) == [0, 0, 1]
        assert fields_of({'sha1': 'same'}, {}, {'sha1': 'same'}) == [0, 1, 0]
        # A chain: by content, by place, by name.
        assert fields_of({'sha1': 'same'}, {'sha1': 'same', **PLACE, 'ra': 1}, {**PLACE, 'ra': 1.01, 'object': 'M 1'},
                         {'object': 'M1'}) == [0, 0, 0, 0]

    def test_many_frames_of_one_field_and_of_many(self, rng):
        one = [{**PLACE, 'ra': 10 + x} for x in rng.uniform(-0.1, 0.1, 3000)]
        many = [{**PLACE, 'ra': x, 'dec': y} for x, y in zip(rng.uniform(20, 340, 2000), rng.uniform(-60, 50, 2000))]
        found = find_fields(frames(*one, *many))
        assert set(found[:3000]) == {0} and len(set(found[3000:])) > 1900


def simulated(n_fields, per_field=4, **more):
    return frames(*({'object': f'field {n % n_fields}', **more} for n in range(n_fields * per_field)))


def test_fractions_are_reached_and_fields_are_whole():
    manifest = simulated(40)
    split = split_manifest(manifest)
    assert split.counts() == {'train': 112, 'validation': 24, 'test': 24}
    parts, fields = split.column(manifest), split.column(manifest, 'field')
    assert all(len(set(parts[fields == number])) == 1 for number in set(fields.tolist()))
    assert len(set(fields.tolist())) == 40


def test_seed_decides_and_order_does_not():
    manifest = simulated(40)
    one, same, other = (split_manifest(manifest, seed=seed).column(manifest).tolist() for seed in (42, 42, 7))
    assert one == same != other
    assert split_manifest(manifest[::-1]).column(manifest).tolist() == one


def test_large_fields():
    manifest = make_table([*simulated(3, 1).iterrows()] and [
        {'path': f'{n}.fits', 'sha1': str(n), 'noise': 5.0, 'object': f'{min(n // 90, 2)} a'} for n in range(182)])
    split = split_manifest(manifest)
    # Three fields, of 90, 90 and 2 frames: no part is empty.
    assert sorted(split.counts().values()) == [2, 90, 90]


def test_two_parts_of_two_fields():
    manifest = simulated(2)
    assert split_manifest(manifest, (0.8, 0.2, 0)).counts() == {'train': 4, 'validation': 4, 'test': 0}


def test_stratified():
    manifest = frames(*({'object': f'field {n}', 'filter': 'r' if n < 20 else 'g', 'instrument': 'CAM'}
                        for n in range(40)))
    parts = split_manifest(manifest, stratify=True).column(manifest)
    for part in parts[:20], parts[20:]:
        counts = [int(np.sum(part == name)) for name in ('train', 'validation', 'test')]
        assert counts[0] == 14 and all(n == 3 for n in counts[1:])


def test_many_small_strata_do_not_all_go_to_training():
    manifest = frames(*({'object': f'field {n}', 'filter': f'f{n}'} for n in range(20)))
    assert split_manifest(manifest, stratify=True).counts() == {'train': 14, 'validation': 3, 'test': 3}


def test_frames_that_cannot_be_used_are_left_out():
    manifest = frames({}, {}, {}, {'error': 'truncated'}, {'noise': 0.0}, {'noise': np.nan})
    assert usable(manifest).tolist() == [True] * 3 + [False] * 3
    split = split_manifest(manifest)
    assert sum(split.counts().values()) == 3 and split.column(manifest).tolist()[3:] == ['', '', '']
    assert sorted(split.column(manifest).tolist()[:3]) == ['test', 'train', 'validation']
    assert len(split.rows(manifest, 'train')) == 1


@pytest.mark.parametrize('fractions', [(0.7, 0.2, 0.2), (0.7, 0.3), (1.2, -0.1, -0.1), 0.5, ('a', 'b', 'c'),
                                       (np.nan, 0.5, 0.5)])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match='fractions must be three numbers'):
        split_manifest(simulated(4), fractions)


def test_fewer_fields_than_parts():
    with pytest.raises(ValueError, match='at least 3 fields of the sky, one for each of train, validation, test, got 2 '
                                         'with 8 usable frames'):
        split_manifest(simulated(2))


def test_exposures_of_one_field(tmp_path):
    manifest = frames(*({'object': 'M 13', 'sha1': f'{min(n, 17)}'} for n in range(20)))
    with pytest.raises(ValueError, match='to divide the exposures of one field, by='):
        split_manifest(manifest)
    split = split_manifest(manifest, by='frame')
    parts = split.column(manifest)
    assert split.counts() == {'train': 14, 'validation': 3, 'test': 3} and len(set(parts[17:])) == 1
    split.write(tmp_path / 's.json')
    assert Split.read(tmp_path / 's.json').by == 'frame'
    assert 'leak' not in check_manifest(manifest, split)['problem']
    with pytest.raises(ValueError, match="by must be 'field' or 'frame', got 'night'"):
        split_manifest(manifest, by='night')


def test_empty_part():
    manifest = simulated(2)
    split = split_manifest(manifest, (0.5, 0.5, 0))
    with pytest.raises(ValueError, match='the split test must have at least one image'):
        split.rows(manifest, 'test')
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'training'"):
        split.rows(manifest, 'training')


def test_file(tmp_path):
    manifest = frames(*({'path': str(tmp_path / 'deep' / f'{n}.fits')} for n in range(5)))
    split = split_manifest(manifest, seed=3)
    split.write(tmp_path / 's.json')
    assert '"path": "deep/0.fits"' in (tmp_path / 's.json').read_text()
    read = Split.read(tmp_path / 's.json')
    assert read == split
    with pytest.raises(OSError, match='exists'):
        split.write(tmp_path / 's.json')


def test_columns_survive_in_the_manifest(tmp_path):
    manifest = simulated(5)
    split = split_manifest(manifest)
    for name in ('field', 'split'):
        manifest[name] = split.column(manifest, name)
    write_manifest(manifest, tmp_path / 'm.ecsv')
    read = read_manifest(tmp_path / 'm.ecsv')
    assert read['split'].tolist() == manifest['split'].tolist() and read['field'].tolist() == manifest['field'].tolist()


@pytest.mark.parametrize(('content', 'message'), [
    ('{', 'is no split .JSON.'), ('[]', 'it was not written by Split.write'), ('{"format": "x"}', 'is no split'),
    ('{"format": "astropy_n2v split of a collection", "version": 9}', 'format version 9'),
    ('{"format": "astropy_n2v split of a collection", "version": 1, "frames": [{}]}', "is damaged: 'path' is missing"),
])
def test_damaged_file(tmp_path, content, message):
    (tmp_path / 's.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        Split.read(tmp_path / 's.json')
