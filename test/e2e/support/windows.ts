/**
 * A setup file for the test runner. On Windows it skips each test of `test/e2e` and gives the reason. These tests end gateways by
 * signals, which Windows does not deliver, and use mode bits and shells. `npm run test:wine` tests the program for Windows.
 */
import { beforeEach } from "vitest"
import { notPosix } from "../../fixtures/skips.ts"

beforeEach(({ skip, task }) => {
  if (notPosix !== undefined && /[\\/]test[\\/]e2e[\\/]/.test(task.file.filepath)) skip(`skipped: ${notPosix}`)
})
