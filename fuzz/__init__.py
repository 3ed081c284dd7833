"""The fuzzer: an initiator that lies, held against a model of what an honest target answers.

Drives the sans-IO core in process.  ``python -m fuzz`` runs it; docs/fuzzing.md says how to read it."""
