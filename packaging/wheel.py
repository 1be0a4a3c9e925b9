#!/usr/bin/env python3
"""Makes a Python wheel from the archive of a release. It has no Python in it: an installer puts the program, its manual
pages and completions where they belong, so that commands start as fast as with any other package.

Usage: packaging/wheel.py ARCHIVE DIR     Prints the path of the wheel.
"""

import base64
import hashlib
import re
import sys
import tarfile
import time
import zipfile
from pathlib import Path

PROJECT = "lanes-queue"
# Linked statically, the program needs neither the C library of the system nor a certain version of it.
PLATFORMS = ("manylinux_2_17", "manylinux2014", "musllinux_1_1")
# The folders of share/ that an environment of Python has a use for.
SHARED = ("man", "bash-completion", "zsh", "fish")
LICENCES = ("LICENSE", "THIRD-PARTY")

METADATA = """\
Metadata-Version: 2.4
Name: {project}
Version: {version}
Summary: {summary}
Keywords: {keywords}
License-Expression: MIT
{licences}
Classifier: Environment :: Console
Classifier: Operating System :: POSIX :: Linux
Description-Content-Type: text/markdown

"""


def main(archive, out):
    version, machine = re.fullmatch(r"lanes-(.+)-([^-]+)-linux\.tar\.gz", archive.name).groups()
    # `1.0.0-rc.1` is `1.0.0rc1` for Python.
    version = re.sub(r"-(a|b|rc)[a-z]*\.?", r"\1", version)
    name = f"{PROJECT.replace('-', '_')}-{version}"
    tags = [f"{platform}_{machine}" for platform in PLATFORMS]
    content, made = read(archive)

    # Place in the wheel, content, mode.
    files = [(f"{name}.data/scripts/lanes", content["bin/lanes"], 0o755)]
    for place, text in content.items():
        if place.startswith(tuple(f"share/{folder}/" for folder in SHARED)):
            files.append((f"{name}.data/data/{place}", text, 0o644))
    info = {f"licenses/{licence}": content[f"share/doc/lanes/{licence}"] for licence in LICENCES}
    info["METADATA"] = metadata(version).encode() + content["share/doc/lanes/README.md"]
    info["WHEEL"] = "".join(
        f"{line}\n"
        for line in (
            "Wheel-Version: 1.0",
            "Generator: lanes packaging/wheel.py",
            "Root-Is-Purelib: false",
            *(f"Tag: py3-none-{tag}" for tag in tags),
        )
    ).encode()
    files += [(f"{name}.dist-info/{place}", text, 0o644) for place, text in info.items()]
    record = f"{name}.dist-info/RECORD"
    rows = [f"{place},sha256={digest(text)},{len(text)}\n" for place, text, _ in files]
    files.append((record, "".join([*rows, f"{record},,\n"]).encode(), 0o644))

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-py3-none-{'.'.join(tags)}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text, mode in files:
            entry = zipfile.ZipInfo(place, time.gmtime(made)[:6])
            entry.create_system = 3
            entry.external_attr = (0o100000 | mode) << 16
            wheel.writestr(entry, text, zipfile.ZIP_DEFLATED, 9)
    print(path)


def read(archive):
    """Returns the files of an archive by their places below the prefix, and the time of the release."""
    with tarfile.open(archive) as tar:
        files = [member for member in tar if member.isfile()]
        return {file.name.split("/", 1)[1]: tar.extractfile(file).read() for file in files}, files[0].mtime


def metadata(version):
    manifest = (Path(__file__).parent.parent / "Cargo.toml").read_text()
    keywords = re.search(r"^keywords = \[(.+)\]$", manifest, re.MULTILINE)[1]
    return METADATA.format(
        project=PROJECT,
        version=version,
        summary=re.search('^description = "(.+)"$', manifest, re.MULTILINE)[1],
        keywords=keywords.replace('"', "").replace(", ", ","),
        licences="\n".join(f"License-File: {licence}" for licence in LICENCES),
    )


def digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
