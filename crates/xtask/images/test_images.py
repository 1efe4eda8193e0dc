"""Images for the flash of ESP32-C3 and C6: valid for esptool, found by the bootloader, not too
large, and without a trace of the machine that made them.

`cargo xtask test esp32-images` and `cargo xtask firmware` build the firmwares and run this.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHIP = os.environ["CAMWIRE_CHIP"]
CHIP_IDS = {"esp32c3": "5 (ESP32-C3)", "esp32c6": "13 (ESP32-C6)"}

# Firmwares as the linker leaves them, or images: `X.bin` of the whole flash, and in it `X-app.bin`.
FILES = [Path(file) for file in os.environ["CAMWIRE_FIRMWARES"].split(os.pathsep)]

# Folders of this machine.
FOLDERS = os.environ["CAMWIRE_FOLDERS"].split(os.pathsep)

# An application is smaller.
APPLICATION_MAX = 1 << 20
# Where the application is in the flash, after the bootloader and the table of partitions.
APPLICATION_AT = 0x1_0000


def esptool(*arguments):
    command = [sys.executable, "-m", "esptool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_whole_flash(file):
    return file.with_name(f"{file.stem}-app.bin") in FILES


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def image(request, tmp_path_factory):
    if request.param.suffix == ".bin":
        return request.param
    made = tmp_path_factory.mktemp("images") / "image.bin"
    options = ["--flash-mode", "dio", "--flash-size", "4MB", "--output", made]
    esptool("--chip", CHIP, "elf2image", *options, request.param)
    return made


@pytest.fixture(scope="module")
def info(image):
    """What esptool reports. Of the whole flash it looks at the bootloader, which comes first."""
    return esptool("image-info", image)


def test_image_is_valid(info):
    fields = dict(re.findall(r"(?m)^(Checksum|Validation hash|Chip ID): (.*?)\s*$", info))
    assert fields["Checksum"].endswith("(valid)"), info
    assert fields["Validation hash"].endswith("(valid)"), info
    assert fields["Chip ID"] == CHIP_IDS[CHIP], info


def test_application_is_found_and_fits(image, info):
    data = image.read_bytes()
    if is_whole_flash(image):
        data = data[APPLICATION_AT:]
        assert data == image.with_name(f"{image.stem}-app.bin").read_bytes()
    else:
        assert "Application Information" in info, info
        assert "Project name: camwire-esp32" in info, info
    assert len(data) < APPLICATION_MAX


def test_image_has_no_path_of_this_machine(image):
    data = image.read_bytes()
    assert [folder for folder in FOLDERS if os.fsencode(folder) in data] == []
