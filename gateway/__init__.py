"""Waybill: an OpenAI-compatible gateway for image work that leaves a waybill for every picture."""

__version__ = "0.1.0"
