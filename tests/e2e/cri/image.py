"""Packs one static program as an image, in the format of `docker save`: image.py PROGRAM NAME:TAG OUT.tar"""

import hashlib
import io
import json
import pathlib
import platform
import sys
import tarfile

# As Go calls them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive(files):
    """A tar archive of names with contents, all executable."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def document(content):
    return json.dumps(content).encode()


program, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
layer = archive([(program.name, program.read_bytes())])
image = document(
    {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
)
image_name = f"{hashlib.sha256(image).hexdigest()}.json"
manifest = document([{"Config": image_name, "RepoTags": [name], "Layers": ["layer.tar"]}])
out.write_bytes(archive([(image_name, image), ("layer.tar", layer), ("manifest.json", manifest)]))
