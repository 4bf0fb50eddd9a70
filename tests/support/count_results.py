#!/usr/bin/env python3
"""Counts what the test programs wrote into a folder: ctest.xml, one XML per gtest program, e2e.xml,
clients.xml and fuzz.xml.

Prints every failure and ends with the line "N passed, N failed"; exits with 1 if anything failed or nothing ran.
"""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def cases(path):
    """Yields (name, "passed" | "failed" | "skipped") of a JUnit or gtest file."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") in ("fail", "failed"):
            yield name, "failed"
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled") or case.get("result") == "skipped":
            yield name, "skipped"
        else:
            yield name, "passed"


def main():
    folder = pathlib.Path(sys.argv[1])
    outcome = {"passed": [], "failed": [], "skipped": []}
    wanted = ["ctest.xml"] + ([] if "--fast" in sys.argv else ["e2e.xml", "clients.xml", "fuzz.xml"])
    for name in wanted:
        if not (folder / name).is_file():
            outcome["failed"].append(f"{name} was not written: these tests did not run")
    programs = dict(cases(folder / "ctest.xml")) if (folder / "ctest.xml").is_file() else {}
    for path in sorted(folder.glob("*.xml")):
        if path.name == "ctest.xml":
            continue
        for name, result in cases(path):
            outcome[result].append(name)
    # A program that ended without writing its cases, because it crashed or hung, is one failure; one that is no gtest
    # program is one test.
    for name, result in programs.items():
        program = name.split(".")[-1]
        if result != "passed" and not (folder / f"{program}.xml").is_file():
            outcome["failed"].append(f"{program} did not run to its end")
        elif result == "failed" and all(state != "failed" for _, state in cases(folder / f"{program}.xml")):
            outcome["failed"].append(f"{program} failed after its tests")
        elif result == "passed" and not (folder / f"{program}.xml").is_file():
            outcome["passed"].append(program)
    for name in outcome["skipped"]:
        print("skipped", name)
    for name in outcome["failed"]:
        print("FAILED", name)
    print(f"{len(outcome['passed'])} passed, {len(outcome['failed'])} failed")
    return 1 if outcome["failed"] or not outcome["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
