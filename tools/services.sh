#!/bin/sh
# Installs the Debian packages whose programs the tests use. Without the right to install, it prints the one line that
# does it and ends well: the service tests then fail by name, and the others run.
set -u

packages="dicom3tools chromium chromium-driver poppler-utils fonts-dejavu-core"

complete() {
    for package in $packages; do
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || return 1
    done
    for program in dciodvfy chromium chromedriver pdftotext; do
        command -v "$program" >/dev/null 2>&1 || return 1
    done
    # Installed is not enough: a broken library shows here. (dciodvfy has no exit code of its own for its version.)
    dciodvfy -version 2>&1 | grep -q -i version &&
        chromium --version >/dev/null 2>&1 &&
        chromedriver --version >/dev/null 2>&1 &&
        pdftotext -v >/dev/null 2>&1
}

if complete; then
    exit 0
fi

# shellcheck disable=SC2086  # the list is meant to become words
set -- apt-get install --yes --no-install-recommends $packages

if ! command -v apt-get >/dev/null 2>&1; then
    echo "services: no apt-get here; the service tests need the programs of: $packages" >&2
    exit 0
elif [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    echo "services: some packages that tests use are missing, and this is not root. Install them with:" >&2
    echo "sudo apt-get install --yes --no-install-recommends $packages"
    exit 0
fi

# Lists of packages may be old or absent: they are fetched only if the first attempt fails.
if $as_root DEBIAN_FRONTEND=noninteractive "$@" ||
    { $as_root DEBIAN_FRONTEND=noninteractive apt-get update &&
        $as_root DEBIAN_FRONTEND=noninteractive "$@"; }; then
    exit 0
fi
echo "services: the packages could not be installed; the service tests will fail. By hand:" >&2
echo "sudo apt-get install --yes --no-install-recommends $packages"
exit 0
