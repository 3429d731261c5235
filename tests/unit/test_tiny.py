"""The tiny checkpoint's parts: layout, mixing, targets and the encoders' quick arithmetic."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import AutoProcessor, Qwen2Model, VibeVoiceAsrForConditionalGeneration

from tests.tiny import encoder, evaluate, growth, lengthen, losses, phrases
from tests.tiny.checkpoint import build_config, build_model, build_processor, random_checkpoint
from tests.tiny.conversation import POOL, conversation, lineup, phrase_pool, write
from tests.tiny.mixing import HOP, Mixer, Recording, Turn, answer
from tests.tiny.synthesis import SAMPLE_RATE, VOICES, Phrase
from tests.tiny.targets import NONE, Builder, collate


def spoken(voice: int, text: str) -> Phrase:
    """A phrase of noise, a quarter of a second each word; what matters here are its times."""
    words = text.split()
    noise = np.random.default_rng(voice).normal(0, 2000, len(words) * SAMPLE_RATE // 4)
    return Phrase(voice, noise.astype(np.int16), tuple((word, i / 4, (i + 1) / 4) for i, word in enumerate(words)))


@pytest.fixture
def mixer() -> Mixer:
    texts = ("one", "two three", "four five six", "seven eight nine zero")
    return Mixer([spoken(voice, text) for voice in range(len(VOICES)) for text in texts], seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("random"), seed=3)


@pytest.fixture(scope="module")
def processor(folder: Path):
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder: Path):
    return VibeVoiceAsrForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def request(processor, audio: np.ndarray, prompt: str | None = None):
    return processor.apply_transcription_request(audio, prompt=prompt, processor_kwargs={"sampling_rate": SAMPLE_RATE})


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, samples).astype(np.float32)


def test_a_random_checkpoint_generates_the_same_tokens_twice(model, processor):
    inputs = request(processor, noise(SAMPLE_RATE))
    first, second = (model.generate(**inputs, sample=False, max_new_tokens=8) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape[1] == inputs["input_ids"].shape[1] + 8


def test_a_random_checkpoint_depends_on_nothing_but_its_seed(folder, tmp_path):
    weights = "model.safetensors"
    assert (random_checkpoint(tmp_path / "same", seed=3) / weights).read_bytes() == (folder / weights).read_bytes()
    assert (random_checkpoint(tmp_path / "other", seed=4) / weights).read_bytes() != (folder / weights).read_bytes()


def test_making_a_checkpoint_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    build_model(build_processor(), seed=5)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("samples", [1, HOP, HOP + 1, 3 * SAMPLE_RATE + 5])
def test_the_processor_asks_for_one_audio_token_a_hop(processor, samples):
    ids = request(processor, noise(samples))["input_ids"][0]
    assert int((ids == processor.audio_token_id).sum()) == -(-samples // HOP)


def test_the_prompt_is_the_published_one(processor):
    text = processor.tokenizer.decode(request(processor, noise(HOP), prompt="ten four")["input_ids"][0])
    assert text == (
        "<|im_start|>system\n"
        "You are a helpful assistant that transcribes audio input into text output in JSON format.<|im_end|>\n"
        "<|im_start|>user\n<|object_ref_start|><|box_start|><|object_ref_end|>\n"
        "This is a 0.13 seconds audio, with extra info: ten four\n\n"
        "Please transcribe it with these keys: Start time, End time, Speaker ID, Content<|im_end|>\n"
    )


def test_any_text_survives_the_tokenizer(processor):
    text = 'naïve 東京 🎉 "quoted"\n[Silence]'
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text


def test_every_word_of_the_vocabulary_is_one_token(processor):
    for word in phrases.DIGITS + phrases.WORDS:
        assert len(processor.tokenizer.tokenize(word)) == len(processor.tokenizer.tokenize(" " + word)) == 1


def test_every_linear_of_the_language_model_can_be_packed_in_four_bits(model):
    layers = model.model.language_model.layers
    assert all(one.in_features % 64 == 0 for one in layers.modules() if isinstance(one, torch.nn.Linear))


def test_mixing_is_reproducible_by_its_seed(mixer):
    again = Mixer([phrase for voice in mixer.by_voice.values() for phrase in voice], seed=7)
    for _ in range(5):
        first, second = mixer.next(), again.next()
        assert first.turns == second.turns
        assert np.array_equal(first.audio, second.audio)


def test_mixed_turns_follow_each_other_and_a_voice_keeps_its_number(mixer):
    for _ in range(50):
        turns = mixer.next().turns
        assert all(before.end < after.start for before, after in itertools.pairwise(turns))
        assert all(before.speaker != after.speaker for before, after in itertools.pairwise(turns))
        assert len({(turn.voice, turn.speaker) for turn in turns}) == len({turn.voice for turn in turns})
        first_seen = list(dict.fromkeys(turn.speaker for turn in turns))
        assert first_seen == list(range(len(first_seen)))


def test_a_talk_keeps_to_its_length_and_numbers_voices_as_they_appear(mixer):
    for seconds in (8, 30, 65):
        recording = mixer.talk(seconds)
        turns = recording.turns
        assert recording.audio.size / SAMPLE_RATE < (seconds + 3) / 0.94  # its last silence, and the slowest speed
        assert all(after.start - before.end > 0.3 for before, after in itertools.pairwise(turns))
        assert all(before.voice != after.voice for before, after in itertools.pairwise(turns))
        first_seen = list(dict.fromkeys(turn.speaker for turn in turns))
        assert first_seen == list(range(len(first_seen)))


@pytest.mark.parametrize("clips", [2, 7, 16])
def test_a_line_up_is_clips_of_two_to_five_seconds_of_one_voice(clips):
    turns = lineup(clips, seed=3).turns
    assert len(turns) == clips
    assert all(1.8 < turn.end - turn.start < 5.4 for turn in turns)  # 2 to 5 s, and 6 % faster or slower
    assert all(0.45 < after.start - before.end < 1.2 for before, after in itertools.pairwise(turns))


def test_a_recording_longer_than_the_stock_of_noise_has_noise_to_its_end(mixer):
    audio = mixer.lineup(16).audio
    assert audio.size > 40 * SAMPLE_RATE
    assert audio[-100:].std() > 0


def test_the_reference_is_the_json_that_the_model_is_to_write(mixer):
    recording = mixer.next()
    segments = json.loads(answer(recording.turns))
    assert [one["Content"] for one in segments] == [turn.text for turn in recording.turns]
    assert [one["Speaker"] for one in segments] == [turn.speaker for turn in recording.turns]
    assert all(0 <= one["Start"] < one["End"] <= recording.audio.size / SAMPLE_RATE for one in segments)


def test_mixed_audio_is_normalized_as_the_processor_does(mixer, processor):
    audio = mixer.next().audio
    heard = request(processor, audio)["input_values"][0, 0, : audio.size].numpy()
    assert np.allclose(heard, audio, atol=1e-4)


def test_training_sequences_are_the_processors_own(mixer, processor):
    recording = mixer.next()
    example = Builder(processor).build(recording)
    assert example.ids[: example.answer_start].tolist() == request(processor, recording.audio)["input_ids"][0].tolist()
    reply = processor.tokenizer.decode(example.ids[example.answer_start :])
    assert reply == f"<|im_start|>assistant\n{answer(recording.turns)}<|im_end|>\n<|endoftext|>"


def test_a_batch_asks_for_the_answer_and_nothing_of_the_prompt(mixer, processor):
    batch = collate([mixer.next() for _ in range(4)], Builder(processor))
    for targets, example in zip(batch.targets, batch.examples, strict=True):
        asked = targets[targets != -100]
        assert asked.tolist() == example.ids[example.answer_start :].tolist()


def test_a_word_is_looked_for_where_its_turn_and_its_place_are_known(mixer, processor):
    """The frames that a position of the answer is to look at know what that position knows."""
    for recording in (mixer.next(), mixer.talk(30), mixer.lineup(6)):
        example = Builder(processor).build(recording)
        labels = example.labels
        places = labels.ordinal[example.answer_start :] != NONE
        assert int(places.sum()) > sum(len(turn.words) for turn in recording.turns)
        for position in (places.nonzero() + example.answer_start).flatten().tolist():
            if labels.last[position] != NONE:  # a word of the content
                seen = slice(
                    example.audio_start + int(labels.look_from[position]),
                    example.audio_start + int(labels.look_to[position]) + 1,
                )
                for name in ("ordinal", "turn", "start"):
                    wanted = getattr(labels, name)[position]
                    assert wanted in getattr(labels, name)[seen], name


def test_what_a_position_looks_at_lies_within_the_audio(mixer, processor):
    for recording in (mixer.next(), mixer.talk(30), mixer.lineup(6)):
        example = Builder(processor).build(recording)
        looking = example.labels.look_from != NONE
        first, last = example.labels.look_from[looking], example.labels.look_to[looking]
        assert bool((first >= 0).all() and (first <= last).all() and (last < example.frames).all())


def test_the_pointed_attention_is_the_eager_one():
    language = build_model(build_processor(), seed=1).model.language_model
    hidden = torch.randn(2, 40, 128, generator=torch.Generator().manual_seed(0))
    outputs = []
    for name in ("eager", "pointed"):
        language.set_attn_implementation(name)
        with torch.no_grad():
            outputs.append(language(inputs_embeds=hidden, use_cache=False, output_attentions=True))
    eager, pointed = outputs
    assert torch.allclose(eager.last_hidden_state, pointed.last_hidden_state, atol=1e-4)
    for layer in range(-losses.READERS, 0):
        shown, wanted = (output.attentions[layer][:, losses.POINTING_HEAD] for output in (pointed, eager))
        assert torch.allclose(shown, wanted, atol=1e-4)


def language_model(layers: int):
    config = build_config(build_processor(), layers).text_config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen2Model(config).eval()


def test_a_language_model_grown_by_two_layers_says_what_it_said():
    small, large = language_model(4), language_model(6)
    prefix = "model.language_model."
    grown = growth.deepen({prefix + name: weight for name, weight in small.state_dict().items()})
    large.load_state_dict({name.removeprefix(prefix): weight for name, weight in grown.items()})
    ids = torch.arange(30)[None]
    with torch.no_grad():
        assert torch.allclose(small(ids).last_hidden_state, large(ids).last_hidden_state, atol=1e-5)


def test_the_built_layer_tells_positions_by_their_distance_from_a_landmark():
    """Whatever is heard there."""
    model = build_model(build_processor(), seed=2)
    frames = torch.randn(500, 128, generator=torch.Generator().manual_seed(1)) * torch.linspace(2, 0, 128)
    assert growth.tell_positions(model, frames) < 0.2
    prompt = build_processor().tokenizer("You are a helpful assistant", return_tensors="pt")["input_ids"]
    layer = model.model.language_model.layers[0].self_attn
    hands = []
    for audio in (frames[:300], frames[200:]):
        hidden = torch.cat([model.get_input_embeddings()(prompt), audio[None]], dim=1)
        normed = torch.nn.functional.rms_norm(hidden, (128,))
        rotary = model.model.language_model.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
        with torch.no_grad():
            hands.append((layer(normed, rotary, None)[0] @ layer.o_proj.weight[:, 0])[0, 10:])
    assert torch.corrcoef(torch.stack(hands))[0, 1] > 0.8


def test_batches_hold_recordings_of_like_length_and_not_too_many_positions(mixer, processor):
    recordings = [mixer.next() for _ in range(30)] + [mixer.talk(40) for _ in range(6)]
    grouped = list(lengthen.groups(recordings, Builder(processor)))
    sizes = [one.audio.size for group in grouped for one in group]
    assert sizes == sorted(one.audio.size for one in recordings)
    batches = [collate(group, Builder(processor)) for group in grouped]
    assert len(batches) > 1
    assert all(batch.ids.numel() <= lengthen.POSITIONS for batch in batches)


def test_the_quick_encoder_is_the_encoder_of_transformers(model):
    audio = torch.from_numpy(noise(2 * 5 * HOP).reshape(2, -1))
    for one in (model.model.acoustic_tokenizer_encoder, model.model.semantic_tokenizer_encoder):
        encoder.freeze_inner_biases(one)
        with torch.no_grad():
            assert torch.allclose(encoder.encode(one, audio), one(audio[:, None]).latents, atol=1e-4)


def test_the_encoders_hear_the_same_in_bf16(folder, model):
    """On processors with AMX, torch 2.13 returns nonsense for some shapes of convolution in bf16."""
    half = VibeVoiceAsrForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    audio = torch.from_numpy(noise(5 * HOP))[None, None]
    for name in ("acoustic_tokenizer_encoder", "semantic_tokenizer_encoder"):
        with torch.no_grad():
            exact = getattr(model.model, name)(audio).latents
            heard = getattr(half.model, name)(audio.bfloat16()).latents.float()
        assert (exact - heard).std() < 0.1 * exact.std()


def test_texts_held_out_are_never_spoken_in_training():
    training = set(phrases.sample_texts(2000, held_out=False, seed=2))
    held_out = set(phrases.sample_texts(300, held_out=True, seed=1))
    assert training & held_out <= set(phrases.DIGITS)


TURNS = (
    Turn(0, 2, (("one", 0.5, 0.8), ("two", 0.8, 1.2))),
    Turn(1, 0, (("nine", 2.0, 2.5),)),
    Turn(0, 2, (("six", 3.0, 3.4),)),
)


def graded(text: str) -> evaluate.Score:
    return evaluate.score([Recording(np.zeros(HOP, np.float32), TURNS)], [text])


def test_the_reference_itself_scores_full_marks():
    result = graded("assistant\n" + answer(TURNS) + "\n")
    assert (result.wer, result.valid, result.turns, result.speakers, result.returning) == (0, 1, 1, 1, 1)
    assert result.times < 0.05


def test_a_returning_voice_with_a_new_number_is_counted_as_wrong():
    result = graded(answer((*TURNS[:2], Turn(2, 2, TURNS[2].words))))
    assert (result.wer, result.turns, result.speakers, result.returning) == (0, 1, 0, 0)


def test_an_answer_that_is_no_json_loses_all_its_words():
    result = graded(answer(TURNS)[:-5])
    assert (result.wer, result.valid, result.turns, result.speakers) == (1, 0, 0, 0)


def test_turns_are_attributed_by_the_segment_over_their_time():
    """A turn too many in the middle does not shift the turns after it."""
    doubled = (TURNS[0], TURNS[1], TURNS[1], TURNS[2])
    assert graded(answer(doubled)).attributed == 1
    assert graded(answer(TURNS[1:])).attributed == pytest.approx(2 / 3)
    assert graded("[]").attributed == 0


@pytest.fixture(scope="module")
def talk() -> Recording:
    return conversation(2, seed=4)


def test_a_conversation_is_as_long_as_asked_and_has_all_voices(talk):
    assert 120 <= talk.audio.size / SAMPLE_RATE < 140
    assert {turn.voice for turn in talk.turns} == set(range(len(VOICES)))
    assert np.array_equal(conversation(2, seed=4).audio, talk.audio)
    assert conversation(2, seed=5).turns != talk.turns


def test_the_turns_of_a_conversation_have_pauses_between_and_speech_within(talk):
    level = np.sqrt(np.mean(talk.audio**2))
    for before, after in itertools.pairwise(talk.turns):
        assert before.voice != after.voice
        assert 0.5 <= after.start - before.end < 5.2
        pause = talk.audio[int((before.end + 0.1) * SAMPLE_RATE) : int((after.start - 0.1) * SAMPLE_RATE)]
        speech = talk.audio[int(after.start * SAMPLE_RATE) : int(after.end * SAMPLE_RATE)]
        assert pause.std() < 0.1 * level < speech.std()


def test_a_conversation_says_what_training_never_did(talk):
    assert all(phrases.is_held_out(text) or " " not in text for text in (spoken_text(one) for one in phrase_pool()))
    assert POOL.stat().st_size < 1_500_000


def spoken_text(phrase: Phrase) -> str:
    return " ".join(word for word, _, _ in phrase.words)


def test_a_written_conversation_can_be_read_again(talk, tmp_path):
    table = write(talk, tmp_path / "talk.flac")
    samples, rate = soundfile.read(tmp_path / "talk.flac")
    assert rate == SAMPLE_RATE
    assert np.abs(samples - talk.audio).max() < 1e-4
    turns = json.loads(table.read_text())
    assert [(one["text"], one["speaker"]) for one in turns] == [(turn.text, turn.speaker) for turn in talk.turns]


def test_windows_share_out_the_turns_of_a_recording(talk):
    cut = evaluate.windows(talk, 30)
    assert all(window.audio.size <= 30 * SAMPLE_RATE for window in cut)
    assert [turn.text for window in cut for turn in window.turns] == [turn.text for turn in talk.turns]
    for window in cut:
        assert window.turns[0].speaker == 0
        assert all(0 < turn.start < turn.end < window.audio.size / SAMPLE_RATE for turn in window.turns)
