"""Who reads which format.

``storage.formats`` says which there are; one that is declared and has no reader here is refused in words."""

from collections.abc import Callable

from scsipub.convert.qcow2 import open_qcow2_untrusted
from scsipub.convert.source import Disk, File
from scsipub.convert.vmdk import open_vmdk_untrusted

Opener = Callable[[File, int], Disk]

OPENERS: dict[str, Opener] = {"qcow2": open_qcow2_untrusted, "vmdk": open_vmdk_untrusted}
