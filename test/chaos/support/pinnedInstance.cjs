// For a gateway under strace: its instance id is known beforehand, and with it the names of the files that it drafts.
require("node:crypto").randomUUID = () => process.env["PINNED_INSTANCE"]
