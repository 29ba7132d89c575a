"""One update of the models alone: fetch, check, put beside those in use, try, keep or go back.

The firmware and its system stay. Vision's successor loads the new set while vision goes on
counting; a set with which it does not come up costs no visitor.
"""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from firmware import messages, model_sets
from firmware.errors import EngineError, UpdateError
from firmware.update import download, version
from firmware.update.voice import Voice

MOST_TRIES = 3
MOST_FAILURES = 2
"""Of a successor that names its reason, such as a model that does not load; once may be chance."""


@dataclass(frozen=True)
class Places:
    """Where the device keeps what an update of models needs.

    Attributes:
        sets: folder of the two sets; only the updater writes there.
        release: the release's public key.
        folder: in RAM, for the bundle while it is fetched.
        trust: PEM file with the roots of the server that holds bundles, where there is one.
        steady_s: a set is kept when all has worked with it for so long without a break …
        patience_s: … before so much time has passed.
    """

    sets: Path = model_sets.PLACE
    release: Path = model_sets.RELEASE
    folder: Path = Path("/run/flow-update")
    trust: Path = Path("/var/lib/flow-sensor/update-roots.pem")
    steady_s: float = 30.0
    patience_s: float = 900.0


class ModelUpdate:
    """One run.

    Args:
        start: what was asked for.
        tell: says to the supervisor how far it is.
        listen: waits so many seconds for the supervisor; → its latest word, or None; raises
            ConnectionError when it is gone.
    """

    def __init__(
        self,
        start: messages.StartUpdate,
        tell: Callable[[messages.UpdateState], None],
        listen: Callable[[float], messages.Works | None],
        places: Places,
    ) -> None:
        self.asked = start
        self.places = places
        self._voice = Voice(tell, start.version)
        self._listen = listen

    def run(self) -> None:
        """Do it, and say how it ended.

        Raises:
            UpdateError: why not; the models in use stay.
        """
        place = self.places.sets
        if not place.is_dir():
            raise UpdateError(
                "this device has no place for models of their own",
                remedy="offer an update of the whole image (docs/image.md)",
            )
        before = model_sets.in_use(place)
        running = self._version(before)
        if self.asked.version == running:
            self._voice.say("committed")
            return
        if running and version.parse(self.asked.version) <= version.parse(running):
            raise UpdateError(
                f"models {self.asked.version} are not newer than {running}, which are in use",
                remedy="offer newer ones: to go back is refused",
            )
        tries = self._tries()
        if tries >= MOST_TRIES:
            raise UpdateError(
                f"models {self.asked.version} were tried and did not prove themselves",
                remedy="look at the device's health records, then offer others",
            )
        name = model_sets.other(before)
        self._place(place / name)
        self._note(tries + 1)
        with model_sets.trying(place, name):
            self._voice.say("trial")
            if not self._prove():
                self._note(MOST_TRIES)
                raise UpdateError(
                    f"models {self.asked.version} did not prove themselves",
                    remedy="look at the device's health records, then offer others",
                )
            model_sets.keep(place, name)
        self._voice.say("committed")

    def _tries(self) -> int:
        """How often this bundle was tried; one during whose trials the power goes is not tried for
        ever."""
        try:
            digest, _, tries = (self.places.sets / "tried").read_text("ascii").partition(" ")
            return int(tries) if digest == self.asked.sha256 else 0
        except (OSError, ValueError):
            return 0

    def _note(self, tries: int) -> None:
        text = f"{self.asked.sha256} {tries}\n"
        model_sets.write(self.places.sets / "tried", text.encode("ascii"))

    def _version(self, name: str) -> str:
        """Of the set in use; "" when there is none, or not one for this firmware."""
        try:
            header = (self.places.sets / name / model_sets.HEADER).read_bytes()
            return model_sets.read(header, self.places.release).version if name else ""
        except (OSError, EngineError):
            return ""

    def _place(self, target: Path) -> None:
        """Fetch the bundle and lay it down; nothing of it is written before its header was found
        good, and nothing that the header does not name."""
        self.places.folder.mkdir(parents=True, exist_ok=True)
        bundle = self.places.folder / f"{self.asked.sha256}.flowmodels"
        trust = str(self.places.trust) if self.places.trust.exists() else ""
        download.fetch(
            self.asked.url, self.asked.sha256, bundle, progress=self._voice.progress, trust=trust
        )
        self._voice.say("installing")
        shutil.rmtree(target, ignore_errors=True)
        try:
            self._unpack(bundle, target)
            header = model_sets.verified(target, self.places.release)
        except EngineError as error:
            shutil.rmtree(target, ignore_errors=True)
            raise UpdateError(error.problem, remedy=error.remedy) from error
        except (OSError, tarfile.TarError) as error:
            shutil.rmtree(target, ignore_errors=True)
            raise UpdateError(
                f"the models cannot be laid down ({type(error).__name__})",
                remedy="check that the bundle is whole and that there is room for it",
            ) from error
        finally:
            bundle.unlink(missing_ok=True)
        if header.version != self.asked.version:
            shutil.rmtree(target)
            raise UpdateError(
                f"the bundle holds models {header.version}, not {self.asked.version}",
                remedy="ask for the version that the bundle holds",
            )

    def _unpack(self, bundle: Path, target: Path) -> None:
        with tarfile.open(bundle, "r:") as archive:
            first = archive.next()
            stream = archive.extractfile(first) if first and first.isreg() else None
            if first is None or first.name != model_sets.HEADER or stream is None:
                raise tarfile.TarError("the header does not come first")
            content = stream.read(1 << 16)
            files = model_sets.read(content, self.places.release).files
            model_sets.make(target)
            model_sets.write(target / model_sets.HEADER, content)
            size = 0
            while member := archive.next():
                stream = archive.extractfile(member) if member.isreg() else None
                size += member.size
                if stream is None or member.name not in files or size > model_sets.MOST_BYTES:
                    raise tarfile.TarError("something does not belong there")
                model_sets.make((target / member.name).parent)
                model_sets.write(target / member.name, stream.read())

    def _prove(self) -> bool:
        """Whether the sensor works with the new set for a while, without a break."""
        with suppress(ConnectionError):  # the supervisor is gone
            return self._steady()
        return False

    def _steady(self) -> bool:
        now = time.monotonic()
        ends_at, since, word = now + self.places.patience_s, 0.0, messages.Works()
        while (now := time.monotonic()) < ends_at:
            good = word.works and word.models == self.asked.version
            since = (since or now) if good else 0.0
            if good and now - since >= self.places.steady_s:
                return True
            if word.failures >= MOST_FAILURES:
                break
            word = self._listen(min(1.0, self.places.steady_s)) or word
        return False
