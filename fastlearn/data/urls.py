"""`URLs`: public data sets by name, and what is known of their archives."""

from __future__ import annotations

from typing import NamedTuple

from fastlearn.errors import ConfigError, near

SHIPPED = "fastlearn://"
_S3 = "https://s3.amazonaws.com/fast-ai-"


class UnknownDatasetError(ConfigError, AttributeError):
    """A name that `URLs` does not have; the message names the nearest."""


class _Named(type):
    """Gives a misspelt name of `URLs` an error with the near matches."""

    def __getattr__(cls, name: str) -> str:
        hint = near(name.upper(), published())
        raise UnknownDatasetError(f"URLs has no {name!r}.{hint} dir(URLs) lists them all.")


class URLs(metaclass=_Named):
    """Public data sets by name, for `untar_data`. DIGITS, FASHION and CLIPART are in the package: no network."""

    DIGITS = f"{SHIPPED}digits"
    FASHION = f"{SHIPPED}fashion"
    CLIPART = f"{SHIPPED}clipart"

    MNIST_TINY = f"{_S3}sample/mnist_tiny.tgz"
    MNIST_SAMPLE = f"{_S3}sample/mnist_sample.tgz"
    MNIST_VAR_SIZE_TINY = f"{_S3}imageclas/mnist_var_size_tiny.tgz"
    MNIST = f"{_S3}imageclas/mnist_png.tgz"
    CIFAR = f"{_S3}sample/cifar10.tgz"
    CIFAR_100 = f"{_S3}imageclas/cifar100.tgz"
    DOGS = f"{_S3}sample/dogscats.tgz"
    PETS = f"{_S3}imageclas/oxford-iiit-pet.tgz"
    FLOWERS = f"{_S3}imageclas/oxford-102-flowers.tgz"
    FOOD = f"{_S3}imageclas/food-101.tgz"
    CARS = f"{_S3}imageclas/stanford-cars.tgz"
    CALTECH_101 = f"{_S3}imageclas/caltech_101.tgz"
    CUB_200_2011 = f"{_S3}imageclas/CUB_200_2011.tgz"
    IMAGENETTE = f"{_S3}imageclas/imagenette2.tgz"
    IMAGENETTE_160 = f"{_S3}imageclas/imagenette2-160.tgz"
    IMAGENETTE_320 = f"{_S3}imageclas/imagenette2-320.tgz"
    IMAGEWOOF = f"{_S3}imageclas/imagewoof2.tgz"
    IMAGEWOOF_160 = f"{_S3}imageclas/imagewoof2-160.tgz"
    IMAGEWOOF_320 = f"{_S3}imageclas/imagewoof2-320.tgz"
    IMAGEWANG = f"{_S3}imageclas/imagewang.tgz"
    IMAGEWANG_160 = f"{_S3}imageclas/imagewang-160.tgz"
    IMAGEWANG_320 = f"{_S3}imageclas/imagewang-320.tgz"
    PLANET_TINY = f"{_S3}sample/planet_tiny.tgz"
    PLANET_SAMPLE = f"{_S3}sample/planet_sample.tgz"
    PASCAL_2007 = f"{_S3}imagelocal/pascal_2007.tgz"
    PASCAL_2012 = f"{_S3}imagelocal/pascal_2012.tgz"
    CAMVID = f"{_S3}imagelocal/camvid.tgz"
    CAMVID_TINY = f"{_S3}sample/camvid_tiny.tgz"
    BIWI_HEAD_POSE = f"{_S3}imagelocal/biwi_head_pose.tgz"
    BIWI_SAMPLE = f"{_S3}sample/biwi_sample.tgz"
    COCO_TINY = f"{_S3}coco/coco_tiny.tgz"
    COCO_SAMPLE = f"{_S3}coco/coco_sample.tgz"
    ADULT_SAMPLE = f"{_S3}sample/adult_sample.tgz"
    HUMAN_NUMBERS = f"{_S3}sample/human_numbers.tgz"
    IMDB = f"{_S3}nlp/imdb.tgz"
    IMDB_SAMPLE = f"{_S3}sample/imdb_sample.tgz"
    ML_SAMPLE = f"{_S3}sample/movie_lens_sample.tgz"
    ML_100k = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    WIKITEXT = f"{_S3}nlp/wikitext-103.tgz"
    WIKITEXT_TINY = f"{_S3}nlp/wikitext-2.tgz"


class Fingerprint(NamedTuple):
    """What fast.ai publishes of an archive: its bytes, and the MD5 of the first 2**20 of them."""

    n_bytes: int
    md5_of_first_mib: str


# From the list of checks that fast.ai publishes for its archives (retrieved 2026).
FINGERPRINTS = {
    "mnist_tiny.tgz": Fingerprint(342207, "56143e8f24db90d925d82a5a74141875"),
    "mnist_sample.tgz": Fingerprint(3214948, "2dbc7ec6f9259b583af0072c55816a88"),
    "mnist_var_size_tiny.tgz": Fingerprint(565372, "b71a930f4eb744a4a143a6c7ff7ed67f"),
    "mnist_png.tgz": Fingerprint(15683414, "03639f83c4e3d19e0a3a53a8a997c487"),
    "cifar10.tgz": Fingerprint(168168549, "a5f8c31371b63a406b23368042812d3c"),
    "cifar100.tgz": Fingerprint(169168619, "e5e65dcb54b9d3913f7b8a9ad6607e62"),
    "dogscats.tgz": Fingerprint(839285364, "3e483c8d6ef2175e9d395a6027eb92b7"),
    "oxford-iiit-pet.tgz": Fingerprint(811706944, "e4db5c768afd933bb91f5f594d7417a4"),
    "oxford-102-flowers.tgz": Fingerprint(345236087, "5666e01c1311b4c67fcf20d2b3850a88"),
    "food-101.tgz": Fingerprint(5686607260, "1a540ebf1fb40b2bf3f2294234ba7907"),
    "stanford-cars.tgz": Fingerprint(1957803273, "9045d6673c9ced0889f41816f6bf2f9f"),
    "caltech_101.tgz": Fingerprint(131740031, "d673425306e98ee4619fcdeef8a0e876"),
    "CUB_200_2011.tgz": Fingerprint(1150585339, "d2acaa99439dff0483c7bbac1bfe2a92"),
    "imagenette2.tgz": Fingerprint(1557161267, "2c774ecb40005b35d7937d50f5d42336"),
    "imagenette2-160.tgz": Fingerprint(99003388, "c475f8f7617a200ba35b9facc48443c3"),
    "imagenette2-320.tgz": Fingerprint(341663724, "1f1f74f133caff120e575856659b87a2"),
    "imagewoof2.tgz": Fingerprint(1343715595, "2cc1c1e36e20cb6fd24ffb978edcb487"),
    "imagewoof2-160.tgz": Fingerprint(92612825, "3559b194123981a540b87132dbda412f"),
    "imagewoof2-320.tgz": Fingerprint(328387740, "7a1fd92672a559a85de76e4810a20c21"),
    "imagewang.tgz": Fingerprint(2900347689, "2b7776bac0fc95db72ac8a3b091a3e30"),
    "imagewang-160.tgz": Fingerprint(191498213, "dab9b1d97b95574ac64122a19bc74ca1"),
    "imagewang-320.tgz": Fingerprint(669826647, "fff8ac034d60e14fcf7789845e625263"),
    "planet_tiny.tgz": Fingerprint(997569, "490873c5683454d4b2611fb1f00a68a9"),
    "planet_sample.tgz": Fingerprint(15523994, "8bfb174b3162f07fbde09b54555bdb00"),
    "pascal_2007.tgz": Fingerprint(1637796771, "433b4706eb7c42bd74e7f784e3fdf244"),
    "pascal_2012.tgz": Fingerprint(2618908000, "d90e29e54a4c76c0c6fba8355dcbaca5"),
    "camvid.tgz": Fingerprint(598913237, "648371e4f3a833682afb39b08a3ce2aa"),
    "camvid_tiny.tgz": Fingerprint(2314212, "2cf6daf91b7a2083ecfa3e9968e9d915"),
    "biwi_head_pose.tgz": Fingerprint(452316199, "00f4ccf66e8cba184bc292fdc08fb237"),
    "biwi_sample.tgz": Fingerprint(593774, "9179f4c1435f4b291f0d5b072d60c2c9"),
    "coco_tiny.tgz": Fingerprint(801038, "367467451ac4fba79a647753c2c66d3a"),
    "coco_sample.tgz": Fingerprint(3245877008, "006cd55d633d94b36ecaf661467830ec"),
    "adult_sample.tgz": Fingerprint(968212, "64eb9d7e23732de0b138f7372d15492f"),
    "human_numbers.tgz": Fingerprint(30252, "8a19c3bfa2bcb08cd787e741261f3ea2"),
    "imdb.tgz": Fingerprint(144440600, "90f9b1c4ff43a90d67553c9240dc0249"),
    "imdb_sample.tgz": Fingerprint(571827, "0842e61a9867caa2e6fbdb14fa703d61"),
    "movie_lens_sample.tgz": Fingerprint(51790, "10961384dfe7c5181460390a460c1f77"),
    "ml-100k.zip": Fingerprint(4924029, "39f6af2d7ea4e117f8838e4a302fec70"),
    "wikitext-103.tgz": Fingerprint(190200704, "2dd8cf8693b3d27e9c8f0a7df054b2c7"),
    "wikitext-2.tgz": Fingerprint(4070055, "2a82d47a7b85c8b6a8e068dc4c1d37e7"),
}


def published() -> dict[str, str]:
    """The address of each name that `URLs` has."""
    return {name: value for name, value in vars(URLs).items() if not name.startswith("_")}
