"""Archives of the three registries: wheels, npm's tarballs, Debian packages. It knows no package and no network."""

import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["pypi", "npm", "deb"]

MAGIC, HEADER = b"!<arch>\n", 60  # of an ar file, which a Debian package is, and of each of its members


def unpack(kind: Kind, archive: Path, folder: Path) -> None:
    """All files of a package into an empty folder; none can leave it. Scripts of a package are never run."""
    match kind:
        case "npm":
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        case "deb":
            with archive.open("rb") as file:
                _to_data(file)
                with tarfile.open(fileobj=file, mode="r|*") as tar:
                    tar.extractall(folder, filter=_no_link)
        case "pypi":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)


def _no_link(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A Debian package links to files of other packages, by paths that mean something in / only."""
    return None if member.issym() else tarfile.data_filter(member, folder)


def _to_data(file: BinaryIO) -> None:
    """Go to the member `data.tar.*` of an ar file: headers of 60 bytes with name and size, members of even length."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("A Debian package is an ar file.")
    while header := file.read(HEADER):
        if header.startswith(b"data.tar"):
            return
        size = int(header[48:58])
        file.seek(size + size % 2, 1)
    raise ValueError("A Debian package has a member data.tar.")
