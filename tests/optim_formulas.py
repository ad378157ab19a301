"""One step of each optimizer for one parameter, in NumPy, as its paper or PyTorch documents it: f(p, g, state, options)."""

import numpy as np


def sgd(p, g, s, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["v"] = g if "v" not in s else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - lr * g


def adam(p, g, s, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, amsgrad=False, l1=0.0):
    g = g + l1 * np.sign(p)
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["t"] = t = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["top"] = np.maximum(s.get("top", 0), s["v"]) if amsgrad else s["v"]
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["top"] / (1 - betas[1] ** t)) + eps)


def adamw(p, g, s, lr, weight_decay=0.01, **options):
    return adam(p, g, s, lr, weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(p, g, s, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
    s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    step = g / (np.sqrt(s["v"] - s["m"] ** 2 if centered else s["v"]) + eps)
    s["b"] = momentum * s.get("b", 0) + step
    return p - lr * (s["b"] if momentum else step)


def adagrad(p, g, s, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["t"] = s.get("t", 0) + 1
    s["v"] = s.get("v", initial_accumulator_value) + g**2
    return p - lr / (1 + (s["t"] - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)


def adadelta(p, g, s, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
    step = np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["v"] + eps) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * step**2
    return p - lr * step


def adamax(p, g, s, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * p
    s["t"] = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["u"] = np.maximum(betas[1] * s.get("u", 0), np.abs(g) + eps)
    return p - lr / (1 - betas[0] ** s["t"]) * s["m"] / s["u"]


def nadam(p, g, s, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, decoupled=False):
    g, p = (g, p * (1 - lr * weight_decay)) if decoupled else (g + weight_decay * p, p)
    s["t"] = t = s.get("t", 0) + 1
    mu, after = (betas[0] * (1 - 0.96 ** (i * momentum_decay) / 2) for i in (t, t + 1))
    s["mu"] = s.get("mu", 1) * mu
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    m = after * s["m"] / (1 - s["mu"] * after) + (1 - mu) * g / (1 - s["mu"])
    return p - lr * m / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def radam(p, g, s, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * p
    s["t"] = t = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    mean, limit = s["m"] / (1 - betas[0] ** t), 2 / (1 - betas[1]) - 1
    rho = limit - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if rho <= 5:
        return p - lr * mean
    r = np.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
    return p - lr * mean * r * np.sqrt(1 - betas[1] ** t) / (np.sqrt(s["v"]) + eps)


def lamb(p, g, s, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
    s["t"] = t = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    r = s["m"] / (1 - betas[0] ** t) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps) + weight_decay * p
    length, moved = np.sqrt((p**2).sum()), np.sqrt((r**2).sum())
    return p - lr * (length / moved if length and moved else 1.0) * r


def lion(p, g, s, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, decoupled=True):
    g, p = (g, p * (1 - lr * weight_decay)) if decoupled else (g + weight_decay * p, p)
    m = s.get("m", 0)
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)


def muon(p, g, s, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="original"):
    s["b"] = momentum * s.get("b", 0) + (1 - momentum) * g
    x = momentum * s["b"] + (1 - momentum) * g if nesterov else s["b"]
    shape = p.shape
    x = x.reshape(shape[0], -1)
    rows, columns = x.shape
    x = x / max(np.linalg.norm(x), 1e-7)
    for _ in range(5):  # on the singular values themselves
        u, size, v = np.linalg.svd(x, full_matrices=False)
        x = u * (3.4445 * size - 4.775 * size**3 + 2.0315 * size**5) @ v
    factor = max(1, rows / columns) ** 0.5 if adjust_lr_fn == "original" else 0.2 * max(rows, columns) ** 0.5
    return p * (1 - lr * weight_decay) - lr * factor * x.reshape(shape)
