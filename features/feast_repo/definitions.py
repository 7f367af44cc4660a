"""What `feast apply` scans: every object that is generated from the definitions of the features.

Feast imports this file to learn what there is, and refuses sources that lack their files: files
of views without rows are made here, empty.
"""

from features.feast_objects import make_missing_sources, objects
from features.feast_place import FeastPlace

_FOLDER = FeastPlace().folder
_OBJECTS = objects(_FOLDER)
make_missing_sources(_OBJECTS, _FOLDER)
globals().update({item.name: item for item in _OBJECTS})  # Feast looks at a module's names
