import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as StablePaths from "../../src/supervisor/StablePaths.ts"

const found = (of: StablePaths.Unstable["of"], path: string) => Option.getOrUndefined(StablePaths.find(of, path))

describe("a path that does not stay (N42)", () => {
  const cases: ReadonlyArray<readonly [of: StablePaths.Unstable["of"], path: string, tool: string, first?: string]> = [
    ["node", "/home/me/.nvm/versions/node/v22.1.0/bin/node", "nvm", "/home/me/.nvm/current/bin/node"],
    ["node", "/home/me/.config/nvm/versions/node/v22.1.0/bin/node", "nvm", "/home/me/.config/nvm/current/bin/node"],
    ["program", "/home/me/.nvm/versions/node/v22.1.0/bin/gateway", "nvm"],
    ["program", "/home/me/.nvm/versions/node/v22.1.0/lib/node_modules/gateway-lock/dist/main.js", "nvm"],
    ["node", "C:\\Users\\me\\AppData\\Roaming\\nvm\\v22.1.0\\node.exe", "nvm"],
    [
      "node",
      "/home/me/.local/share/fnm/node-versions/v22.1.0/installation/bin/node",
      "fnm",
      "/home/me/.local/share/fnm/aliases/default/bin/node"
    ],
    ["node", "/run/user/1000/fnm_multishells/123_456/bin/node", "fnm"],
    ["node", "/home/me/.volta/tools/image/node/22.1.0/bin/node", "Volta"],
    ["node", "C:\\Users\\me\\AppData\\Local\\Volta\\tools\\image\\node\\22.1.0\\node.exe", "Volta"],
    ["node", "/home/me/.asdf/installs/nodejs/22.1.0/bin/node", "asdf"],
    ["node", "/home/me/.nodenv/versions/22.1.0/bin/node", "nodenv"],
    [
      "node",
      "/home/me/.local/share/mise/installs/node/22.1.0/bin/node",
      "mise",
      "/home/me/.local/share/mise/installs/node/lts/bin/node"
    ],
    ["node", "/usr/local/n/versions/node/22.1.0/bin/node", "n,"],
    ["node", "/opt/homebrew/Cellar/node@22/22.1.0/bin/node", "Homebrew", "/opt/homebrew/opt/node@22/bin/node"],
    ["node", "/home/linuxbrew/.linuxbrew/Cellar/node/24.0.0_1/bin/node", "Homebrew"],
    ["node", "/nix/store/abc-nodejs-22.1.0/bin/node", "Nix", "/run/current-system/sw/bin/node"],
    ["node", "/snap/node/9000/bin/node", "snap", "/snap/node/current/bin/node"],
    ["program", "/home/me/.npm/_npx/0123456789abcdef/node_modules/.bin/gateway", "npx"],
    ["program", "C:\\Users\\me\\AppData\\Local\\npm-cache\\_npx\\01\\node_modules\\gateway-lock\\dist\\main.js", "npx"],
    ["program", "/home/me/.cache/pnpm/dlx/abc/node_modules/.bin/gateway", "pnpm dlx"],
    [
      "program",
      "/home/me/pnpm/global/5/node_modules/.pnpm/gateway-lock@0.1.0/node_modules/gateway-lock/dist/main.js",
      "pnpm",
      "/home/me/pnpm/global/5/node_modules/gateway-lock/dist/main.js"
    ],
    ["program", "/tmp/bunx-1000-gateway-lock@latest/node_modules/gateway-lock/dist/main.js", "bunx"],
    ["program", "/tmp/checkout/dist/main.js", "temporary"],
    ["program", "/var/tmp/checkout/dist/main.js", "temporary"],
    ["program", "/private/var/folders/x/T/main.js", "temporary"],
    ["program", "C:\\Users\\me\\AppData\\Local\\Temp\\x\\main.js", "temporary"]
  ]

  for (const [of, path, tool, first] of cases) {
    it(`is ${path}`, () => {
      const unstable = found(of, path)
      assert.include(unstable?.because, tool)
      assert.isNotEmpty(unstable?.candidates)
      if (first !== undefined) assert.strictEqual(unstable?.candidates[0], first)
      for (const candidate of unstable?.candidates ?? []) assert.isTrue(Option.isNone(StablePaths.find(of, candidate)))
    })
  }

  it("is none of those that packages of a system and npm use", () => {
    for (
      const path of [
        "/usr/bin/node",
        "/usr/local/bin/node",
        "/opt/node/bin/node",
        "/opt/homebrew/bin/node",
        "C:\\Program Files\\nodejs\\node.exe",
        "/home/nvme/bin/node",
        "/srv/tmp/node"
      ]
    ) assert.isUndefined(found("node", path), path)
    for (
      const path of [
        "/usr/local/lib/node_modules/gateway-lock/dist/main.js",
        "/home/me/gateway/dist/main.js",
        "/opt/tmp/x"
      ]
    ) assert.isUndefined(found("program", path), path)
  })
})

describe("the path to prefer", () => {
  const among = (...existing: ReadonlyArray<string>) =>
    Effect.map(
      StablePaths.advise({
        execPath: "/home/me/.nvm/versions/node/v22.1.0/bin/node",
        scriptPath: "/opt/gateway/main.js"
      })
        .pipe(
          Effect.provideService(
            FileSystem.FileSystem,
            FileSystem.makeNoop({ exists: (path) => Effect.succeed(existing.includes(path)) })
          )
        ),
      (advice) => advice.map((one) => StablePaths.describe(one))
    )
  const before =
    "/home/me/.nvm/versions/node/v22.1.0/bin/node may disappear (nvm, one folder for each version of Node); "

  it.effect("is the best one that exists", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* among("/usr/local/bin/node"), [`${before}prefer /usr/local/bin/node`])
      assert.deepStrictEqual(yield* among("/usr/bin/node", "/home/me/.nvm/current/bin/node"), [
        `${before}prefer /home/me/.nvm/current/bin/node`
      ])
    }))

  it.effect("is named also where there is none yet", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* among(), [`${before}prefer /usr/bin/node, which the system's packages install`])
    }))
})
