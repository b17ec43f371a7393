"""The demo: the whole product as real processes, hurt on purpose, and a proof at the end.

traffic: what is sent       stage: the processes       proof: log against storage       show: what you see
"""

from streamlake.entrypoints.demo.play import play

__all__ = ["play"]
