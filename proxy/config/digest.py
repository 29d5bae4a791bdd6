"""A stable hash of what decides a route's traffic and its evidence."""

import hashlib
import os.path
from collections.abc import Mapping
from pathlib import Path

import msgspec

from proxy.config.resolve import Settings
from proxy.core.model import Backend, Phase, Route, Sticky

_encode = msgspec.msgpack.Encoder(order="deterministic").encode

# Blanked in the settings part, since they are hashed route by route or not at all.
_BLANK = {"name": "", "pattern": "", "methods": (), "host": None, "path": "", "digest": ""}


class Digests:
    """Digests of the routes of one file; what many routes share is hashed once.

    Changed digest, fresh evidence: evidence gathered under other rules says nothing about these.
    So everything counts that decides which requests the route gets and what is done with them
    (name, methods, host, path, both backends with their addresses and time-outs, rewrite, sticky,
    shadow, fallback, writes, maintenance ...), how answers are compared, and the thresholds of
    `revert`, because a sequential test is computed against them from its first sample.

    What does not count: the phase, since a route keeps its evidence, latch and flags while it
    moves (and moving is what the evidence is for); `advance`, `revert.to` and `revert.cooldown`,
    which act on evidence and do not make it; `accept_loss`, which permits a move. How a key is
    written (order of methods, names of backends, defaults spelt out, relative files at another
    place) does not count either, so replicas agree.
    """

    def __init__(self, backends: Mapping[str, Backend], base: Path) -> None:
        self._backends = {
            name: _encode(_comparable(backend, base)) for name, backend in backends.items()
        }
        self._settings: dict[int, tuple[Settings, bytes]] = {}

    def digest(self, route: Route, settings: Settings) -> str:
        """32 hexadecimal digits. `settings` is what `route` was made from."""
        known = self._settings.get(id(settings))
        if known is None:
            # Kept with its settings, so that no other object can take over the identity.
            known = self._settings[id(settings)] = (settings, self._hash(settings))
        parts = (route.name, sorted(route.methods), route.host, route.path, known[1])
        return hashlib.blake2b(_encode(parts), digest_size=16).hexdigest()

    def _hash(self, settings: Settings) -> bytes:
        route = msgspec.structs.replace(
            settings.route, **_BLANK, phase=Phase(0), legacy="", new="", accept_loss=False
        )
        if route.sticky.kind != "cookie":  # only cookie names have case
            sticky = Sticky(route.sticky.kind, _folded(route.sticky))
            route = msgspec.structs.replace(route, sticky=sticky)
        revert = settings.revert
        thresholds = None
        if revert is not None:
            thresholds = (
                *(revert.divergence, revert.errors, revert.min_samples, revert.false_alarm),
                (revert.latency.factor, revert.latency.percentile) if revert.latency else None,
            )
        sides = [
            self._backends.get(side, b"") for side in (settings.route.legacy, settings.route.new)
        ]
        whole = _encode((route, thresholds, sides))
        return hashlib.blake2b(whole, digest_size=16).digest()


def _folded(sticky: Sticky) -> str:
    return sticky.name.lower() if sticky.kind == "header" else sticky.name


def _comparable(backend: Backend, base: Path) -> Backend:
    """Without its name, files relative to the configuration's directory."""
    tls = backend.tls
    if tls is not None:
        tls = msgspec.structs.replace(
            tls,
            **{
                name: os.path.relpath(path, base)
                for name in ("ca", "cert", "key")
                if (path := getattr(tls, name)) is not None
            },
        )
    return msgspec.structs.replace(backend, name="", urls=tuple(sorted(backend.urls)), tls=tls)
