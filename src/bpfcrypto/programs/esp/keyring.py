"""The secrets of a peer: which one is of which epoch, and the keys that come from it. Nothing of them is kept between two calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config_types import SecretFile, SecretFolder
from bpfcrypto.programs.esp.keys import KeyMaterial, derive, fingerprint
from bpfcrypto.programs.esp.secret_files import opened_secret, secret_files
from bpfcrypto.programs.esp.wire import FIRST_EPOCH, LAST_EPOCH, epoch_of

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.program import Association
    from bpfcrypto.programs.esp.suites import Suite


class Keyring:
    """Secrets, read whenever one is needed.

    Args:
        source: a file, or a folder that is looked at again each time.
        suite: what the keys are for.
    """

    def __init__(self, source: SecretFile | SecretFolder, suite: Suite) -> None:
        self._source = source
        self._suite = suite

    def material(self, association: Association) -> KeyMaterial:
        """The key of an SA, by the epoch in its SPI; to be used as a context manager, which wipes it.

        Raises:
            ConfigError: there is no secret of that epoch, or its file cannot be used.
        """
        with opened_secret(self._source, epoch_of(association.spi)) as secret:
            return derive(
                secret,
                self._suite,
                association.spi,
                association.source,
                association.target,
                mode=association.mode,
                esn=association.esn,
            )

    def has(self, epoch: int) -> bool:
        """Whether there is a secret of an epoch; a single file is one of all epochs.

        Raises:
            ConfigError: the folder cannot be read, or is not as it should be.
        """
        return isinstance(self._source, SecretFile) or any(first <= epoch for first in secret_files(self._source.path))

    def fingerprint(self, epoch: int) -> str:
        """Which secret an epoch has, one-way."""
        with opened_secret(self._source, epoch) as secret:
            return fingerprint(secret)

    def next_epoch(self, epoch: int) -> int:
        """The epoch behind another: the newest file's, where that is later, else the next number. Behind 0, the first.

        Raises:
            ConfigError: there is none.
        """
        if isinstance(self._source, SecretFolder):
            newest = max(secret_files(self._source.path), default=0)
            if newest > epoch:
                return newest
        if epoch >= LAST_EPOCH:
            raise ConfigError(f"epoch {epoch} is the last one", hint="give both ends a new secret")
        return max(epoch + 1, FIRST_EPOCH)
