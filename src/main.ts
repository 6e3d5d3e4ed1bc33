#!/usr/bin/env node
import { join } from "node:path"
import { loadProgram } from "./internal/programLoader.ts"

loadProgram(join(import.meta.dirname, "program"))
