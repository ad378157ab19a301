"""ONNX files: ``from_onnx`` reads them as modules, ``to_onnx`` writes modules; ``operator`` and ``exporter`` teach more."""

from __future__ import annotations

from .exporters import exporter
from .operators import operator, operators
from .reader import from_onnx
from .writer import to_onnx

__all__ = ["exporter", "from_onnx", "operator", "operators", "to_onnx"]
