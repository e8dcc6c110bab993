"""Follows lake and registry in a thread of its own, and swaps what is served, whole, when either has changed."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from deltalake.exceptions import TableNotFoundError

from lake.s3 import one_line
from lake.settings import Settings
from serving.registry import RegisteredModel, RegisteredVersion, RegistryError, open_registry
from serving.saved import restore, save
from serving.snapshot import NEWEST, Snapshot, choose
from serving.tables import LakeTable
from serving.vault import PendingError, RefusedError, Vault

TABLE = "forecasts/predictions"
# An alias that has moved is seen after this; the lake, which is slower to ask and changes once a day, after a second.
POLL_SECONDS = 0.25
LAKE_SECONDS = 1.0
# A look that takes longer than this (a hung store) is reported, not waited for.
STALLED_SECONDS = 30.0

logger = logging.getLogger(__name__)


class ServingState:
    """Holds the newest good snapshot, from memory or, at first, from the local disk."""

    def __init__(self, settings: Settings) -> None:
        self.registry = open_registry(settings.mlflow_tracking_uri)
        self.vault = Vault(settings.home / "serving" / "models", settings)
        self.failed_refreshes = 0
        self.swaps = 0
        self._settings = settings
        self._saved = settings.home / "serving" / "state.json"
        self.snapshot = restore(self._saved, settings.lake_uri)
        self._models: Mapping[str, RegisteredModel] = self.snapshot.models if self.snapshot else {}
        self._refused: frozenset[tuple[str, str]] = frozenset()
        self._problems: dict[str, str] = {"lake": "the lake has not been looked at yet"}
        self._looked_at = time.monotonic()
        self._table = LakeTable(TABLE, settings)
        self._lake_looked_at = float("-inf")
        self._made_of: tuple[object, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin to follow; returns at once, the first snapshot comes when it is loaded."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; a look that hangs is left behind."""
        self._stop.set()
        self._thread.join(timeout=1.0)

    def reasons(self) -> list[str]:
        """Whatever keeps the snapshot from being there or from being up to date; empty when all is well."""
        silent = time.monotonic() - self._looked_at
        stalled = [f"lake and registry have not answered for {silent:.0f} s"] if silent > STALLED_SECONDS else []
        return [*self._problems.values(), *stalled]

    def degraded(self) -> list[str]:
        """What of lake, registry and model is not as it should be, in a word each; empty when all is well."""
        return sorted({cause.partition(" ")[0] for cause in self._problems})

    def refresh(self) -> None:
        """Look once; swap the snapshot when forecasts or aliases have changed. Never raises: see `reasons`."""
        problems: dict[str, str] = {}
        self._follow_registry(problems)
        self._follow_lake(problems)
        today = datetime.now(UTC).date()
        if self.snapshot is not None and self.snapshot.day != today:  # and the lake is away
            self._swap(self.snapshot.redated(today), problems)
        if problems and problems != self._problems:
            logger.warning("; ".join(problems.values()))
        self._problems = problems
        self._looked_at = time.monotonic()

    def _follow(self) -> None:
        while True:
            self.refresh()
            if self._stop.wait(POLL_SECONDS):
                return

    def _follow_registry(self, problems: dict[str, str]) -> None:
        """Read the aliases, and let only those versions serve that are admitted."""
        try:
            models, refused = {}, set()
            for model in self.registry.models():
                aliases: dict[str, RegisteredVersion] = {}
                for alias, version in model.aliases.items():
                    kept = self._kept(model.name, alias)
                    try:
                        self.vault.admit(version, self.registry, patient=kept is None)
                        aliases[alias] = version
                    except PendingError:
                        if kept is not None:
                            aliases[alias] = kept
                    except RefusedError as error:
                        refused.add((model.name, version.version))
                        problems[f"model {model.name} {alias}"] = (
                            f"{alias} version {version.version} of {model.name} is refused: {error}"
                        )
                        if kept is not None and kept.version != version.version:
                            aliases[alias] = kept
                models[model.name] = replace(model, aliases=aliases)
        except (RegistryError, OSError, ValueError) as error:  # the disk that admitted files are kept on, too
            known = "the champions known before" if self._models else "the newest forecasts of any version"
            problems["registry"] = f"model registry: {error}; {known} are served"
        else:
            self._models, self._refused = models, frozenset(refused)

    def _kept(self, name: str, alias: str) -> RegisteredVersion | None:
        """The last good version behind an alias."""
        model = self._models.get(name)
        return model.aliases.get(alias) if model else None

    def _follow_lake(self, problems: dict[str, str]) -> None:
        wanted = (self._models, self._refused, datetime.now(UTC).date())
        changed = self._made_of[1:] != wanted
        if not changed and time.monotonic() - self._lake_looked_at < LAKE_SECONDS:
            problems |= {cause: text for cause, text in self._problems.items() if cause in ("lake", "disk")}
            return
        self._lake_looked_at = time.monotonic()
        try:
            table = self._table.refresh()
            if (table, *wanted) != self._made_of:
                made = self._made(table, *wanted)
                if made.predictions:
                    self._swap(made, problems)
                    self._made_of = (table, *wanted)
                else:
                    left = "has forecasts of refused versions only" if self._refused else "is empty"
                    problems["lake"] = f"the table {TABLE} {left}"
        except TableNotFoundError:
            problems["lake"] = f"the lake has no table {TABLE} yet: materialize it"
        except Exception as error:  # whatever a store or a broken table raises, the last good state serves on
            reason = one_line(str(error)).partition("\n")[0]
            problems["lake"] = f"lake: {type(error).__name__}: {reason}"
            self.failed_refreshes += 1

    def _swap(self, snapshot: Snapshot, problems: dict[str, str]) -> None:
        before, self.snapshot = self.snapshot, snapshot
        if before is None or before.served_versions() != snapshot.served_versions():
            self.swaps += 1
            logger.info("serving %s", {name: sorted(found) for name, found in snapshot.served_versions().items()})
        try:
            save(self._saved, self._settings.lake_uri, snapshot)
        except OSError as error:
            problems["disk"] = f"the state cannot be kept for the next start: {error}"

    def _made(
        self,
        table: tuple[str, int],
        models: Mapping[str, RegisteredModel],
        refused: frozenset[tuple[str, str]],
        today: date,
    ) -> Snapshot:
        present = self._table.columns()
        rows = self._table.rows(NEWEST.format(columns=", ".join(f"p.{name}" for name in present)))
        predictions = choose(rows, models, refused, today)
        return Snapshot.of(table, models, predictions, loaded_at=datetime.now(UTC), day=today, before=self.snapshot)
