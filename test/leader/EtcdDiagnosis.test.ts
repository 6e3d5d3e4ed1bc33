import { assert, describe, it } from "@effect/vitest"
import { problemOf } from "../../src/leader/EtcdDiagnosis.ts"

describe("a version of etcd", () => {
  it.each(["3.4.38", "3.4.40", "3.5.23", "3.6.5", "3.6.10", "3.7.0", "4.0.0", "3.6.5-rc.1", "unknown", ""])(
    "%j has no known problem",
    (version) => assert.isUndefined(problemOf(version))
  )

  it.each([
    ["3.4.23", "3.4.38"],
    ["3.4.9", "3.4.38"],
    ["3.5.16", "3.5.23"],
    ["3.5.3+git", "3.5.23"],
    ["3.6.0", "3.6.5"]
  ])(
    "%j can end leases early, which %j cannot",
    (version, fixed) =>
      assert.match(problemOf(version) ?? "", new RegExp(`^it can end a lease early.*expected ${fixed} or later$`))
  )

  it.each(["3.3.27", "2.3.8", "3.0.0"])(
    "%j is too old",
    (version) => assert.match(problemOf(version) ?? "", /expected 3\.4 or later$/)
  )
})
