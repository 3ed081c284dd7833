"""The same liar against targets that are not ours, over sockets: any iSCSI target that has a URL.

Nothing here looks into the target.  ``judge`` knows the standard only, and what was said before."""
