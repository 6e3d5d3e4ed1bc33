// Loaded into a gateway that runs under strace. It fixes the instance id, so that the test knows the names of the draft files
// before the start. strace needs these names as arguments.
require("node:crypto").randomUUID = () => process.env["PINNED_INSTANCE"]
