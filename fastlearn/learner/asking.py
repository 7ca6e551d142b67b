"""What a learner answers: predictions, results to look at, a summary of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.loaders import check_max_n
from fastlearn.errors import ConfigError, DataError
from fastlearn.learner.setup import NO_LABELS, LearnerSetup
from fastlearn.losses import activation_of, decodes_of, per_sample
from fastlearn.options import checked_function, named_options
from fastlearn.runtime.seed import RunKey
from fastlearn.training.predict import FirstBatches, Network, Predictions, predict_loader
from fastlearn.training.preflight import first_samples
from fastlearn.training.summary import layer_table, parameter_counts


class Asking(LearnerSetup):
    """The methods of a `Learner` that use its model and leave it as it is."""

    @named_options
    def get_preds(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> tuple[Any, ...]:
        """Predictions and targets of a whole loader, on the CPU and in its order.

        Returns `([inputs,] predictions, targets [, decoded] [, losses])`; the predictions went through the loss
        function's activation (softmax for cross-entropy) unless `act` is another function. `dl` takes a loader or a
        list of batches such as `[(x, y)]`. A torch DataLoader that shuffles is read in the order of its data set.

        For one label a sample: predictions (samples, classes) float32, targets and decoded (samples,) int64, losses
        (samples,). For several labels targets are (samples, classes) too, and decoded is a mask of that shape. Targets
        are None for a loader without labels. From 256 samples on, batch norms are computed together with the layers
        before them, which is faster and differs from the model's own outputs by rounding alone.

        Raises ConfigError for a `ds_idx` that there is no loader for or a `dl` of another kind, DataError for an empty
        loader, for inputs that the model does not take and for `with_loss` without labels, DeviceMemoryError for too
        large a batch.

        >>> probabilities, targets = learn.get_preds()
        >>> probabilities, _ = learn.get_preds(dl=dls.test_dl(files))
        """
        activation = activation_of(self.loss_func) if act is None else checked_function(act, "act")
        found = self._predict(_in_order(self._loader(ds_idx, dl)), with_input=with_input, with_loss=with_loss)
        predictions = activation(found.outputs)
        parts: list[Any] = [found.inputs] if with_input else []
        parts += [predictions, found.targets]
        if with_decoded:
            parts.append(decodes_of(self.loss_func)(predictions))
        if with_loss:
            if found.losses is None:
                raise DataError(NO_LABELS)
            parts.append(found.losses)
        return tuple(parts)

    @named_options
    def predict(self, item: Any, with_input: bool = False) -> tuple[Any, ...]:
        """The label, its index and the probabilities for one item (a path, bytes, a PIL image, an array).

        The index is int64 of shape (), the probabilities are float32 (classes,). For several labels at once: the
        labels, a mask (classes,) and the probabilities; for a regression the value three times. `with_input` puts the
        input before them.

        Raises ConfigError when the data are loaders of your own, which do not say how an item is read, ImageError for a
        file that is no picture.

        >>> label, index, probabilities = learn.predict("cat.jpg")
        """
        loader = self.dls.test_dl([item], num_workers=0)
        found = self._predict(loader, with_input=with_input)
        probabilities = activation_of(self.loss_func)(found.outputs)
        decoded = decodes_of(self.loss_func)(probabilities)[0]
        label = self.task.decode(decoded) if self.task is not None else decoded
        answer = (label, decoded, probabilities[0])
        return (loader.decode_batch((found.inputs,))[0], *answer) if with_input else answer

    @named_options
    def tta(
        self, ds_idx: int = 1, dl: Any = None, n: int = 4, beta: float | None = 0.25, use_max: bool = False
    ) -> tuple[torch.Tensor, Any]:
        """Predictions averaged over `n` augmented passes and a plain one: (1 − beta)·mean(augmented) + beta·plain.

        `beta=None` returns (augmented, plain, targets); `use_max` takes the largest in place of the mean. A torch
        DataLoader that shuffles is read in the order of its data set; ConfigError for another loader that gives its
        samples in a new order each time.

        Shapes are those of `get_preds`: predictions (samples, classes), targets (samples,). Raises ConfigError for `n`
        below 1 and a `beta` outside 0 to 1, and otherwise as `get_preds` does.

        >>> probabilities, targets = learn.tta(n=4)
        >>> accuracy(probabilities, targets)
        """
        if not isinstance(n, int) or n < 1:
            raise ConfigError(f"tta needs n ≥ 1 augmented passes, not {n!r}.")
        if not (beta is None or (isinstance(beta, (int, float)) and 0 <= beta <= 1)):
            raise ConfigError(f"beta is the share of the plain pass, from 0 to 1, not {beta!r}; the default is 0.25.")
        loader = _in_order(self._loader(ds_idx, dl))
        activation = activation_of(self.loss_func)
        augmented_loader = loader.new(shuffle=False, drop_last=False, train=True)
        network = Network(self.model, loader, 1 + n)
        plain = self._predict(loader, network=network)
        predictions = activation(plain.outputs)
        passes = []
        for i in range(n):
            found = self._predict(augmented_loader, stream="tta", epoch=i, network=network)
            if isinstance(loader, ForeignLoader):
                _check_same_samples(plain, found, loader)
            passes.append(activation(found.outputs))
        if use_max:
            return torch.stack([predictions, *passes]).max(0)[0], plain.targets
        mean = torch.stack(passes).mean(0)
        if beta is None:
            return mean, predictions, plain.targets  # type: ignore[return-value]
        return (1 - beta) * mean + beta * predictions, plain.targets

    @named_options
    def show_results(
        self, ds_idx: int = 1, dl: Any = None, max_n: int = 9, figsize: tuple[float, float] | None = None
    ) -> Any:
        """Draw samples of a loader with their targets and predictions.

        At most `max_n` of them, drawn at random; `figsize` is in inches. Raises ConfigError for a loader without labels
        and for data that hold no pictures.

        >>> learn.show_results(max_n=6)
        """
        display = getattr(self.dls, "display", None)
        if display is None:
            raise ConfigError("These DataLoaders cannot be drawn: they hold no pictures that fastlearn knows.")
        check_max_n(max_n)
        # Folders list one class after the other, so the samples are drawn.
        loader = self._loader(ds_idx, dl)
        loader = loader.new(bs=min(max_n, loader.n or max_n), shuffle=True, drop_last=False)
        found = self._predict(FirstBatches(loader, 1), with_input=True, stream="show")
        if found.targets is None:
            raise ConfigError(
                "show_results compares predictions with labels, and this loader has none. With labels: "
                "dls.test_dl(items, with_labels=True); without: learn.get_preds(dl=…) or learn.predict(item)."
            )
        decoded = decodes_of(self.loss_func)(activation_of(self.loss_func)(found.outputs))
        batch = tuple(part[:max_n] for part in (found.inputs, found.targets))
        return display.show_results(loader, batch, decoded[:max_n], max_n=max_n, figsize=figsize)

    def summary(self) -> str:
        """The layers with their shapes and parameters, and how the learner is set up; also printed.

        >>> text = learn.summary()
        """
        batch = first_samples(self.dls.train, self.device)
        every, trained = parameter_counts(self.model)
        lines = [layer_table(self.model, batch[: self.dls.n_inp])] if batch is not None else []
        loss = getattr(self.loss_func, "__name__", type(self.loss_func).__name__)
        optimizer = getattr(self.opt_func, "__name__", str(self.opt_func))
        lines += [
            "",
            f"Parameters: {every:,}, of which {trained:,} are trained, in {len(self.groups)} group(s)",
            f"Loss: {loss}    Optimizer: {optimizer}    Batch norm of the body: {self.bn}",
            f"Device: {self.device}    Precision: {self._arithmetic()}    Seed: {self.seed}",
            f"Callbacks: {', '.join(map(repr, self.cbs)) or 'none'}",
        ]
        text = "\n".join(lines)
        print(text)
        return text

    def _predict(
        self,
        loader: Any,
        with_input: bool = False,
        with_loss: bool = False,
        stream: str = "predict",
        epoch: int = 0,
        network: Network | None = None,
    ) -> Predictions:
        return predict_loader(
            self.model,
            loader,
            self.precision,
            RunKey(self.seed, stream, epoch),
            n_inp=self.dls.n_inp,
            loss_func=per_sample(self.loss_func) if with_loss else None,
            with_input=with_input,
            channels_last=self.channels_last,
            in_pieces=self.in_pieces,
            network=network,
        )


def _in_order(loader: Any) -> Any:
    """A foreign loader without torch's shuffling; others are in order already."""
    return loader.in_order() if isinstance(loader, ForeignLoader) else loader


def _check_same_samples(plain: Predictions, found: Predictions, loader: ForeignLoader) -> None:
    """Raise unless two passes gave as many samples, with the same targets one by one."""
    same = len(plain.outputs) == len(found.outputs) and _equal(plain.targets, found.targets)
    if not same:
        raise ConfigError(
            f"tta averages passes sample by sample, but this {type(loader.loader).__name__} gives other samples, or "
            "another order of them, each time. Pass one that does not shuffle: "
            "dl=DataLoader(dataset, batch_size=64, shuffle=False)."
        )


def _equal(one: Any, other: Any) -> bool:
    """Whether nested targets are the same, NaN being equal to itself."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) or (one.shape == other.shape and bool(((one == other) | (one != one)).all()))
    if isinstance(one, dict):
        return all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
