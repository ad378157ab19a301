"""Mixed precision: which ops run in 16 bits, and which in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from functools import cache, partial
from typing import Any

from .domain.dtype import bfloat16, float16, float32, float64
from .domain.dtype import dtype as known
from .domain.errors import DTypeError
from .modes import cast_mode
from .tensor import Tensor

HALVES = (bfloat16, float16)

# Products of matrices and what is made of them: many numbers, whose rounding errors do not add up
LOW = frozenset(
    "matmul linear linear_activation einsum conv1d conv2d conv3d conv_transpose1d conv_transpose2d prelu "
    "rnn gru lstm rnn_cell gru_cell lstm_cell scaled_dot_product_attention".split()
)
# What needs range (exp, powers, losses) or adds up many numbers (sums, norms)
WIDE = frozenset(
    "exp expm1 log log1p log2 log10 pow square rsqrt reciprocal acos asin cosh sinh tan softplus "
    "softmax log_softmax logsumexp logsigmoid dot sum mean prod cumsum cumprod var std var_mean norm "
    "layer_norm group_norm rms_norm "
    "cross_entropy nll ctc bce bce_with_logits mse mae huber smooth_l1 log_cosh kl_div poisson_nll gaussian_nll hinge "
    "squared_hinge focal dice cosine_loss cosine_embedding contrastive triplet_margin".split()
)
# In float32 too, but what comes out has the dtype of what came in: between convolutions it stays small
WITHIN = frozenset(["batch_norm_train", "batch_norm_eval"])


class autocast(ContextDecorator):
    """Inside ``with autocast("bfloat16"):`` ops of this thread take their floating arguments in the dtype that suits them.

    Products (matmul, linear, convolutions, recurrent layers, attention) take ``dtype``, "bfloat16" or "float16"; what
    needs range or adds up many numbers (exp, log, pow, softmax, losses, norms, sums, means) takes float32; batch norms
    take float32 and give what they got; the rest is as without. float64 stays float64. Parameters stay float32, and so
    do their gradients. Run forward and loss inside, backward outside; nested, the inner one counts, and
    ``autocast(enabled=False)`` switches it off. The lists are those of PyTorch's autocast, but for means and the
    recurrent layers. Errors: DTypeError for another dtype.

    >>> import chainrule as cr
    >>> weight, x = cr.ones(2, 2, requires_grad=True), cr.ones(1, 2)
    >>> with cr.autocast("bfloat16"):
    ...     y = x @ weight
    ...     loss = y.sum()
    >>> loss.backward()
    >>> y.dtype, loss.dtype, weight.grad.dtype
    (chainrule.bfloat16, chainrule.float32, chainrule.float32)
    """

    def __init__(self, dtype: object = "bfloat16", enabled: bool = True) -> None:
        self.dtype, self.enabled = known(dtype), enabled
        if self.dtype not in HALVES:
            raise DTypeError(f"[autocast] dtype is {self.dtype}, expected bfloat16 or float16")
        self._entered: list[cast_mode] = []

    def _recreate_cm(self) -> autocast:  # a decorated function may call itself, or run in several threads
        return autocast(self.dtype, self.enabled)

    def __enter__(self) -> autocast:
        mode = cast_mode(ways(self.dtype) if self.enabled else None)
        mode.__enter__()
        self._entered.append(mode)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.pop().__exit__()


@cache
def ways(dtype: Any) -> dict[str, Callable[..., Any]]:
    """How ops are called, by name, where products take ``dtype``: ``way(run, op, args, params)``; the rest as they are."""
    return {
        **dict.fromkeys(LOW, partial(low, dtype)),
        **dict.fromkeys(WIDE, wide),
        **dict.fromkeys(WITHIN, within),
    }


def low(dtype: Any, run: Any, op: Any, args: Any, params: dict[str, Any]) -> Any:
    """With floating arguments in ``dtype``; but where there is float64, that counts."""
    if any(isinstance(a, Tensor) and a.dtype is float64 for a in args):
        return plain(run, op, args, params)
    return plain(run, op, [in_dtype(a, dtype) for a in args], params)


def wide(run: Any, op: Any, args: Any, params: dict[str, Any]) -> Any:
    """With 16-bit floats as float32."""
    return plain(run, op, [in_dtype(a, float32) if is_half(a) else a for a in args], params)


def within(run: Any, op: Any, args: Any, params: dict[str, Any]) -> Any:
    """With 16-bit floats as float32, and the result as the first argument was."""
    y = wide(run, op, args, params)
    return in_dtype(y, args[0].dtype) if is_half(args[0]) else y


def plain(run: Any, op: Any, args: Any, params: dict[str, Any]) -> Any:
    """Without autocast: the parts of the op, if it has any, keep its dtype."""
    with cast_mode(None):
        return run(op, args, params)


def is_half(x: Any) -> bool:
    """Whether ``x`` is a tensor of 16-bit floats."""
    return isinstance(x, Tensor) and x.dtype in HALVES


def in_dtype(x: Any, dtype: Any) -> Any:
    """A floating tensor in ``dtype``; anything else as it is."""
    return x.cast(dtype=dtype) if isinstance(x, Tensor) and x.is_floating and x.dtype is not dtype else x
