// Preloaded into a traced program: strace selects files by their names, and the instance id is part of one.
globalThis.crypto.randomUUID = () => "11111111-2222-4333-8444-555555555555"
