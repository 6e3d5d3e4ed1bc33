#!/usr/bin/env node
import { fileURLToPath } from "node:url"
import { loadProgram } from "./internal/programLoader.ts"

loadProgram(fileURLToPath(new URL("program", import.meta.url)))
