"""ONNX files: ``from_onnx`` reads them as modules, ``to_onnx`` writes modules."""

from __future__ import annotations

from .reader import from_onnx

__all__ = ["from_onnx"]
