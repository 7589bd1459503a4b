"""The other side of bench/train.py: the plain Hugging Face Trainer, as a LLaVA-like model is trained with it.

It takes the backbone, the connector, the tokens and the cached features from Polymera, so that both sides learn from
the same numbers; packing, batching, loss and loop are its own.

Shapes: B = rows, L = row length, T = media tokens, F = encoder width, D = backbone width, V = vocabulary.
"""

import logging
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments, get_cosine_schedule_with_warmup

from extend.adapter import Adapter
from extend.machine import metered
from extend.recipe import Recipe
from modalities.base import TEXT, Part, Sample
from modalities.mllm import IGNORED, MLLM

MEDIA = -200  # stands where a media token goes, as in LLaVA


class Rows(Dataset[dict[str, Any]]):
    """A row a sample, tokenized when made; its one media file's features come from the cache when asked for."""

    def __init__(self, samples: Sequence[Sample], model: MLLM) -> None:
        self.embedder = model.embedder
        self.rows: list[tuple[Part, list[int], list[int]]] = []
        for sample in samples:
            (media,) = [part for part in sample.prompt if part.modality != TEXT]
            with torch.no_grad():
                (tokens,) = model.tokens([media])  # (T, D)
            prompt = [*self.embedder.before, *self._ids(sample, len(tokens)), *self.embedder.after]
            answer = self.embedder.ids(sample.answers[0])
            answer += [self.embedder.tokenizer.eos_token_id] if sample.whole else []
            self.rows.append((media, prompt + answer, [IGNORED] * len(prompt) + answer))

    def _ids(self, sample: Sample, length: int) -> list[int]:
        pieces = [
            self.embedder.ids(str(part.content)) if part.modality == TEXT else [MEDIA] * length
            for part in sample.prompt
        ]
        return [token for piece in pieces for token in piece]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        media, ids, labels = self.rows[index]
        return {"features": self.embedder.media(media).float(), "input_ids": ids, "labels": labels}


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Rows padded on the right to the longest."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> Tensor:
        return torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])  # (B, L)

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])  # (B,)
    return {
        "features": torch.stack([row["features"] for row in rows]),  # (B, T, F)
        "input_ids": padded("input_ids", 0),
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        "labels": padded("labels", IGNORED),
    }


class Llava(nn.Module):
    """A connector before an LLM."""

    def __init__(self, llm: Any, connector: nn.Module) -> None:
        super().__init__()
        self.llm = llm
        self.connector = connector

    def forward(self, features: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss: a mean over each answer's tokens, then over the rows."""
        embeds = self.llm.get_input_embeddings()(input_ids.clamp_min(0))  # (B, L, D)
        embeds = embeds.masked_scatter((input_ids == MEDIA)[..., None], self.connector(features).to(embeds.dtype))
        logits = self.llm(inputs_embeds=embeds, attention_mask=attention_mask, use_cache=False).logits  # (B, L, V)
        following = nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:]  # (B, L)
        losses = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), following.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(following)  # (B, L)
        return {"loss": (losses.sum(1) / (following != IGNORED).sum(1)).mean()}


class Theirs:
    """The Trainer; `arguments` are its own."""

    def __init__(self, model: MLLM, recipe: Recipe, **arguments: Any) -> None:
        self.source, self.recipe, self.arguments = model, recipe, arguments
        (connector,) = model.embedder.connectors.values()
        llm = get_peft_model(model.llm, Adapter(model.llm, recipe.lora).config)
        self.model = Llava(llm, connector.requires_grad_(True)).eval()
        logging.getLogger("transformers").setLevel(logging.ERROR)

    def loss(self, samples: Sequence[Sample]) -> float:
        """Of one batch; nothing is learned."""
        rows = Rows(samples, self.source)
        with torch.no_grad():
            return float(self.model.eval()(**collate([rows[index] for index in range(len(rows))]))["loss"])

    def train(self, samples: Sequence[Sample]) -> tuple[float, int]:
        """One epoch; samples a second and the process's peak in bytes."""
        tune = self.recipe.tune
        self.source.embedder.connectors.eval()  # while rows are measured
        rows = Rows(samples, self.source)
        lora = [one for name, one in self.model.named_parameters() if "lora_" in name]
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.connector.parameters()), "lr": tune.lr_connector},
            {"params": lora, "lr": tune.lr_llm},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        steps = -(-len(rows) // tune.batch)
        schedule = get_cosine_schedule_with_warmup(optimizer, round(self.recipe.warmup * steps), steps)
        with TemporaryDirectory(prefix="trainer-") as folder:
            settings = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=tune.batch,
                num_train_epochs=1,
                max_grad_norm=1.0,
                remove_unused_columns=False,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=torch.cuda.is_available(),
                **self.arguments,
            )
            trainer = Trainer(self.model, settings, collate, rows, optimizers=(optimizer, schedule))
            trainer.remove_callback(PrinterCallback)  # standard output is for the figures
            with metered() as cost:
                seconds = trainer.train().metrics["train_runtime"]
        return len(rows) / seconds, cost.peak_bytes
