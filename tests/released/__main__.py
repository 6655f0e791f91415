"""`python -m tests.released` writes statements and schema of this version: the last step of a release."""

from tests.released import FOLDER, this_version

if __name__ == "__main__":
    release = this_version()
    release.write(FOLDER / release.version)
    print(f"wrote {FOLDER / release.version}")
