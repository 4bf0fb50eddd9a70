#!/usr/bin/env python3
"""Unpacks an archive of the npm registry after its bytes have been checked.

usage: unpack_npm.py ARCHIVE SHA256 FOLDER
"""
import hashlib
import pathlib
import shutil
import sys
import tarfile


def main():
    archive, wanted, folder = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != wanted:
        archive.unlink()
        sys.exit(f"{archive.name} is not what was pinned: its SHA-256 is {found}")
    with tarfile.open(archive) as content:
        for member in content:
            # Everything lies in the folder package/. Links, devices and ways out of the folder are not taken.
            parts = pathlib.PurePosixPath(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts:
                continue
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with content.extractfile(member) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)


if __name__ == "__main__":
    main()
