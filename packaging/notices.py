#!/usr/bin/env python3
"""Prints the licences of everything that is linked into `lanes`, each text once, from the sources that Cargo has fetched.

Usage: packaging/notices.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path

HEAD = """\
lanes is linked with the projects below, and with the GNU C Library (GNU Lesser General Public License 2.1 or later), the
runtime library of GCC (GNU General Public License 3 with the GCC Runtime Library Exception) and the standard library of
Rust (MIT or Apache License 2.0). The sources of lanes, with which it can be linked with other versions of these, are
public. Where a project offers several licences, this is the MIT License if that is one of them.

Without a file of their own:
"""


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked_packages(host):
    """Returns the names and versions of the packages in the program, without those that only the compiler runs."""
    tree = ["cargo", "tree", "--locked", "--target", host, "--edges", "normal,no-proc-macro", "--no-dedupe"]
    lines = output_of(*tree, "--prefix", "none", "--format", "{p}").splitlines()
    return {tuple(line.split()[:2]) for line in lines}


def texts(folder):
    """Returns the texts of the licences and notices in the folder of a package."""
    is_named = re.compile("(un)?licen[cs]e|copying|notice|copyright", re.IGNORECASE).match
    files = sorted(file for file in folder.iterdir() if is_named(file.name) and file.is_file())
    mit = [file for file in files if "mit" in file.name.lower()]
    if mit:
        files = [file for file in files if file in mit or "notice" in file.name.lower()]
    return [file.read_text(errors="replace").replace("\r\n", "\n").strip() for file in files]


def main():
    host = re.search("^host: (.+)$", output_of("rustc", "-vV"), re.MULTILINE)[1]
    linked = linked_packages(host)
    users = {}
    print(HEAD)
    metadata = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host]
    metadata = json.loads(output_of(*metadata))
    for package in sorted(metadata["packages"], key=lambda package: (package["name"], package["version"])):
        if package["source"] is None or (package["name"], "v" + package["version"]) not in linked:
            continue
        name = f"{package['name']} {package['version']}"
        found = texts(Path(package["manifest_path"]).parent)
        if not found:
            print(f"  {name}: {package['license']}, {', '.join(package['authors']) or package['repository']}")
        for text in found:
            users.setdefault(text, []).append(name)
    if not users:
        sys.exit("error: no licence of a dependency was found")
    for text, names in users.items():
        print(f"\n{'-' * 80}\n\n{', '.join(names)}\n\n{text}")


if __name__ == "__main__":
    main()
