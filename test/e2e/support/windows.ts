/**
 * The setup of `npm test` on Windows alone: skips each test of `test/e2e`, with the reason. They end gateways by signals, which
 * Windows does not deliver, and use mode bits and shells. `npm run test:wine` tests the program that Windows runs.
 */
import { beforeEach } from "vitest"
import { notPosix } from "../../fixtures/skips.ts"

beforeEach(({ skip, task }) => {
  if (notPosix !== undefined && /[\\/]test[\\/]e2e[\\/]/.test(task.file.filepath)) skip(`skipped: ${notPosix}`)
})
