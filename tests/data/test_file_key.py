"""The key of a file changes with the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastlearn.data.file_key import Key, file_key


def test_a_key_is_that_of_the_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"123")
    status = file.stat()
    assert file_key(file) == Key(os.fsencode(file), 3, status.st_mtime_ns, status.st_ino)
    monkeypatch.chdir(tmp_path)
    assert file_key("a.jpg") == file_key(str(file))
    with pytest.raises(FileNotFoundError):
        file_key("b.jpg")


def test_whatever_changes_the_key_changes_its_digest() -> None:
    key = Key(b"a", 1, 23, 4)
    others = [key._replace(path=b"b"), key._replace(size=2), key._replace(mtime_ns=24), key._replace(inode=5)]
    shifted = [Key(b"a", 12, 3, 4), Key(b"4 a", 1, 2, 3), Key(b"a", 1, -23, 4), Key(b"", 0, 0, 0)]
    digests = {one.digest() for one in [key, *others, *shifted]}
    assert len(digests) == 9 and {len(digest) for digest in digests} == {16}


def test_a_changed_or_replaced_file_has_another_key(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"123")
    keys = [file_key(file)]
    file.write_bytes(b"1234")
    keys.append(file_key(file))
    os.utime(file, ns=(0, keys[-1].mtime_ns + 1))
    keys.append(file_key(file))
    other = tmp_path / "b.jpg"
    other.write_bytes(b"5678")
    os.utime(other, ns=(0, keys[-1].mtime_ns))
    os.replace(other, file)
    keys.append(file_key(file))
    assert len({key.digest() for key in keys}) == 4


@pytest.mark.parametrize("name", [b"a b.jpg", b"a\nb.jpg", b"\xff\xfe.jpg", "ä✓🐈.jpg".encode(), b"-", b"'\"%s"])
def test_odd_names(tmp_path: Path, name: bytes) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    file.write_bytes(b"1")
    assert file_key(file).path == os.fsencode(tmp_path) + b"/" + name
    assert len(file_key(file).digest()) == 16
