"""Writes train/<subject>/ and valid/<subject>/ beside this file from Debian's package `openclipart-png`.

apt-get install openclipart-png && python datasets/clipart/make.py

Each drawing is composited on white, cropped to what is drawn, fitted into 96 x 96 pixels and stored with a palette of
256 colours. Near-copies (the same drawing saved twice) are dropped; drawings of one outline (a coloured and a
black-and-white version, a recoloured series) are kept on the same side of the split, so that the validation set never
holds a version of a training picture.
"""

from __future__ import annotations

import hashlib
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

SOURCE = Path("/usr/share/openclipart/png")
HERE = Path(__file__).parent
SIZE_PX, MARGIN_PX = 96, 3
MOST = 90  # drawings of one subject
VALID_SHARE = 0.25

FOLDERS = {
    "bird": ["animals/birds/**/*.png"],
    "bug": ["animals/bugs/*.png"],
    "dessert": ["food/desserts/*.png"],
    "fruit": ["food/fruit/*.png"],
    "house": ["buildings/homes/*.png"],
    "mammal": ["animals/mammals/**/*.png"],
    "music": ["recreation/music/*.png"],
    "vehicle": ["transportation/vehicles/*.png", "transportation/*.png"],
}

# Looked at one by one: broken files, drawings of something else, signs, diagrams, versions that the code below misses.
LEFT_OUT = {
    "bird": "baby-tux* contour_bat* duck_yellow_ii* manager_* mirjam* stormo* tux_didier* turkey_on* wing_*",
    "bug": "bee2* lumaca* quattro* ragno_figo* virus* zanzara_cretina*",
    "dessert": "cake_mateya* crazy_cookie* gauffre* gelato*",
    "fruit": (
        "apple_juice* apple_mateya* banana_mateya* candied* champignon* eris* fruitcollection* gumnut* juice* "
        "kallisti* lime_half_jarno* pear_01* pie_* rondelle_orange* slate* straw_tote* tile* tree* turkey*"
    ),
    "house": "home9* houses_jon* house_fudriot* lighthouse*",
    "mammal": (
        "cat_scrathing* crazy_monkey* dolphin_01* elephant_outline* mhooo* shaezy* skoynk* squeek* "
        "sleeping_bear* sleeping_cat_ron* toro_al*"
    ),
    "music": (
        "45_rpm_record_*_02* 45_rpm_record_*_04* 45_rpm_records* a_man* bach* beethove* handel* jazz* "
        "war_drum* piano_theory* trumpet_herald* mountain_dul* headphones*"
    ),
    "vehicle": (
        "Evel* Motorway* airplane.png ampel* anchor* bambi* beach_trip* bus_lane* bus_opposite* bus_symbol* "
        "buses_and* cattle* cross* curve* cycle* departing* drawbridge* end_daul* grain* grounded* horse* "
        "kaboom* lighthouse* little_tan* lorry_length* no_* old_folks* parking* pass_either* plane_in* quay* "
        "redcar* roundabout* shelby* sledge* soviet* street_sign* the_mad* toy_paper* tram.png trams_only* "
        "tunnel* turn_ahead* two_way* wing* zigzag*"
    ),
}

# Series whose drawings share parts, such as the same scoops on other cones: each is one family.
SERIES = ["cone*", "lemon_*_ganson*", "lime_*_ganson*"]


def picture(path: Path) -> Image.Image:
    """The drawing on white, cropped to what is drawn and centred in a square."""
    drawn = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    flat = white.convert("RGB")
    box = (
        ImageChops.difference(flat, Image.new("RGB", flat.size, "white"))
        .convert("L")
        .point(lambda v: 255 * (v > 8))
        .getbbox()
    )
    flat = flat.crop(box)
    room = SIZE_PX - 2 * MARGIN_PX
    scale = room / max(flat.size)
    size = tuple(max(1, round(side * scale)) for side in flat.size)
    flat = flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    square = Image.new("RGB", (SIZE_PX, SIZE_PX), "white")
    square.paste(flat, ((SIZE_PX - size[0]) // 2, (SIZE_PX - size[1]) // 2))
    return square.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def outline(image: Image.Image) -> np.ndarray:
    """What is drawn and what lies inside it, as a mask of 96 x 96: nearly the same for the versions of one drawing."""
    ink = np.asarray(image.convert("L")) < 240
    filled = ink.copy()
    for turns in range(4):  # a pixel with ink on all four sides is inside
        seen = np.logical_or.accumulate(np.rot90(ink, turns), axis=0)
        filled = np.rot90(seen, -turns) if turns == 0 else filled & np.rot90(seen, -turns)
    return filled


def families(pictures: list[Image.Image]) -> tuple[list[int], set[int]]:
    """For each picture the number of its family, and the pictures that are near-copies of an earlier one."""
    outlines = np.stack([outline(image).ravel() for image in pictures]).astype(np.float32)
    colours = np.stack(
        [
            np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX), np.float32).ravel()
            for image in pictures
        ]
    )
    both = outlines @ outlines.T
    area = outlines.sum(1)
    overlap = both / (area[:, None] + area[None] - both)
    distance = np.abs(colours[:, None] - colours[None]).mean(2)
    family, copies = list(range(len(pictures))), set()
    for i in range(len(pictures)):
        for j in range(i):
            if distance[i, j] < 3:
                copies.add(i)
            if overlap[i, j] > 0.955 or distance[i, j] < 8:
                family = [family[j] if member == family[i] else member for member in family]
    return family, copies


def order(name: object) -> str:
    """A fixed shuffle: names in the order of their digests."""
    return hashlib.sha256(str(name).encode()).hexdigest()


def chosen_drawings() -> tuple[list[tuple[str, str]], list[Image.Image]]:
    """(subject, name) and picture of every drawing that is not left out."""
    names, pictures = [], []
    for subject, patterns in FOLDERS.items():
        for path in sorted(path for pattern in patterns for path in SOURCE.glob(pattern)):
            if not any(fnmatch(path.name, left_out) for left_out in LEFT_OUT[subject].split()):
                names.append((subject, path.stem))
                pictures.append(picture(path))
    return names, pictures


def split(groups: list[list[int]]) -> tuple[list[int], list[int]]:
    """Training and validation members; a family stays on one side, large ones in training, at most `MOST` in all."""
    n = min(MOST, sum(map(len, groups)))
    n_valid = int(VALID_SHARE * n)
    train: list[int] = []
    valid: list[int] = []
    for members in groups:
        if len(members) <= 3 and len(valid) + len(members) <= n_valid:
            valid += members
        elif len(train) + len(members) <= n - n_valid:
            train += members
    return train, valid


def main() -> None:
    names, pictures = chosen_drawings()
    family, copies = families(pictures)  # over all subjects: a drawing filed under two of them is kept in one
    for series in SERIES:
        members = [i for i, (_, name) in enumerate(names) if fnmatch(name, series)]
        merged = {family[i] for i in members}
        family = [family[members[0]] if number in merged else number for number in family]
    for side in ("train", "valid"):
        shutil.rmtree(HERE / side, ignore_errors=True)
    for subject in FOLDERS:
        groups: dict[int, list[int]] = {}
        for i, (of, _) in enumerate(names):
            if of == subject and i not in copies:
                groups.setdefault(family[i], []).append(i)
        train, valid = split(sorted(groups.values(), key=lambda members: order(names[members[0]])))
        for side, members in (("train", train), ("valid", valid)):
            folder = HERE / side / subject
            folder.mkdir(parents=True)
            for i in members:
                pictures[i].save(folder / f"{names[i][1]}.png", optimize=True)
        print(f"{subject:8} {len(train):3} train {len(valid):3} valid")


if __name__ == "__main__":
    main()
