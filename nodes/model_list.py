"""What a loader offers: names, and the file or folder behind each."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from textwrap import shorten

import folder_paths

from ..pipelines.weights.folders import walk_once


@dataclass(frozen=True)
class ModelList:
    """Files of some of the host's model folders, and folders below another one that are models as a whole."""

    what: str  # for errors
    files: tuple[str, ...]  # model folders of the host, in search order
    advice: str  # for who looks for a name in vain
    folders: str = ""  # a model folder of the host
    is_model: Callable[[Path, list[str]], bool] = lambda folder, files: False  # of a folder and its files' names

    def _folders(self) -> dict[str, Path]:
        models: dict[str, Path] = {}
        for top in folder_paths.get_folder_paths(self.folders) if self.folders else ():
            for folder, subfolders, files in walk_once(Path(top)):
                if folder != Path(top) and self.is_model(folder, files):
                    models.setdefault(folder.relative_to(top).as_posix(), folder)
                    subfolders.clear()  # a pipeline's parts are not models of their own
        return models

    def names(self) -> list[str]:
        """All there are, files first."""
        names = [name for key in self.files for name in folder_paths.get_filename_list(key)]
        names.extend(sorted(self._folders()))
        return list(dict.fromkeys(names))

    def find(self, name: str) -> Path:
        """The file or folder of a name, in which a workflow from Windows has backslashes.

        Raises FileNotFoundError with the folders searched, ValueError for what is no name.
        """
        if not isinstance(name, str):
            raise ValueError(f"'name' must be that of one {self.what}, not {shorten(repr(name), 80)}. {self.advice}")
        spellings = dict.fromkeys((name, name.replace("\\", "/")))
        for key, spelling in product(self.files, spellings):
            file = folder_paths.get_full_path(key, spelling)
            if file:
                return Path(file)
        models = self._folders()
        for spelling in spellings:
            if spelling in models:
                return models[spelling]
        keys = [*self.files, self.folders] if self.folders else self.files
        searched = "; ".join(path for key in keys for path in folder_paths.get_folder_paths(key))
        raise FileNotFoundError(f"There is no {self.what} '{name}'. Folders searched: {searched}. {self.advice}")

    def check(self, name: str | None) -> bool | str:
        """For `validate_inputs`, in place of the host's own check of the list, which does not say where it looked."""
        try:
            return name is None or bool(self.find(name))  # None: linked, not known yet
        except (FileNotFoundError, ValueError) as error:
            return str(error)
