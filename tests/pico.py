"""A pico model: a two-layer Llama of width 32 with a real tokenizer and chat template, built in seconds, random.

Every story of Polymera runs on it for real: fold, training, store, server, swap.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from modalities.assemble import bare, encoders, save_connectors
from modalities.base import find
from modalities.checkpoint import Checkpoint, Delta, Store
from tests.toy import tone as tone_module

WIDTH, LAYERS, VOCABULARY = 32, 2, 384


@dataclass(frozen=True)
class Dialect:
    """A chat template and the special tokens that it is made of; `bos` is what the template calls bos_token."""

    special: tuple[str, ...]
    eos: str
    bos: str | None
    template: str


CHATML = Dialect(
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    None,
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
)
LLAMA3 = Dialect(  # says what Llama-3-8B-Instruct's own says
    ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|eot_id|>",
    "<|begin_of_text|>",
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start_header_id|>{{ message['role'] }}"
    "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
)
CORPUS = [
    "a loud high tone", "a soft low tone", "a middle pulse, loud", "How high is the tone?", "What do you hear?",
    "Describe this.", "user assistant system", "low middle high soft loud",
]  # fmt: skip


def backbone(folder: Path, seed: int = 7, dialect: Dialect = CHATML, context: int = 512) -> None:
    """Write a random pico Llama and its tokenizer as a Hugging Face folder. By seed 7, answers are long and varied."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=[*dialect.special], initial_alphabet=alphabet, show_progress=False
        ),
    )
    named = {"eos_token": dialect.eos, "pad_token": dialect.special[0], "bos_token": dialect.bos}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=dialect.template, **named)
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # the smallest that vLLM's CPU kernels know
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=1 if dialect.bos is None else dialect.special.index(dialect.bos),
        eos_token_id=dialect.special.index(dialect.eos),
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def store(root: Path) -> Store:
    """A store with the pico backbone and one checkpoint, 0001-tone-…, that is live."""
    made = Store(root)
    backbone(made.assets / "pico")
    made.set_live(checkpoint(made, 1).id)
    return made


def checkpoint(made: Store, index: int = 1, names: tuple[str, ...] = ("tests.toy.tone",)) -> Checkpoint:
    """One more checkpoint with `index` random deltas and random connectors; the same index gives the same bytes."""
    work = made.work / f"pico-{index}-{len(names)}"
    model = bare(made, "pico", None)
    torch.manual_seed(index)
    modalities = [find(name) for name in names]
    for modality in modalities:
        model.embedder.add(modality)
    save_connectors(dict(model.embedder.connectors.items()), work / "connectors")
    deltas = [Delta(path=f"llm/{number:02d}-tone", scale=1 / number) for number in range(1, index + 1)]
    for number, delta in enumerate(deltas, start=1):
        adapter(work / delta.path, seed=number)
    files = {str(path.relative_to(work)): path for path in work.rglob("*") if path.is_file()}
    return made.publish(
        files,
        parent=None,
        stage=index,
        method="mera",
        modalities=names,
        base_llm="pico",
        system=None,
        deltas=tuple(deltas),
        encoders=encoders(modalities, model.embedder),
        recipe={},
    )


def adapter(folder: Path, seed: int, rank: int = 2) -> None:
    """A random PEFT-format adapter on every linear layer of the pico backbone."""
    shapes = {"self_attn.q_proj": (64, 32), "self_attn.k_proj": (32, 32), "self_attn.v_proj": (32, 32)}
    shapes |= {"self_attn.o_proj": (32, 64), "mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32)}
    shapes |= {"mlp.down_proj": (32, 64)}
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for name, (rows, columns) in shapes.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, columns, generator=draw) * 0.2
            tensors[f"{key}.lora_B.weight"] = torch.randn(rows, rank, generator=draw) * 0.2
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    config |= {"target_modules": sorted({name.rpartition(".")[2] for name in shapes})}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def tone(seed: int = 0) -> bytes:
    """The bytes of a .tone file."""
    return tone_module.make(("low", "middle", "high")[seed % 3], ("soft", "loud")[seed % 2], seed)
