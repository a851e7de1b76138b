// Bundles src/main.ts and src/style/lab.css into one ES module and one style sheet, minified.
// `node build.mjs [folder]`: the folder is poise/lab/static unless given (the rebuild test gives its own).
import { context } from "esbuild";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

const here = dirname(fileURLToPath(import.meta.url));
const watch = process.argv.includes("--watch");
const folder = process.argv.slice(2).find((word) => !word.startsWith("--")) ?? join(here, "../poise/lab/static");

const bundle = await context({
  absWorkingDir: here,
  entryPoints: [{ in: "src/main.ts", out: "lab" }, { in: "src/style/lab.css", out: "lab" }],
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  // d3-scale blends colours, dates and shapes too; its axes here hold numbers only.
  alias: { "d3-interpolate": "./src/panels/interpolate.ts" },
  banner: { js: "/* poise's lab; built from web/ by `npm run build`. d3-scale: ISC, Mike Bostock. */" },
});
if (watch) await bundle.watch();
else {
  await bundle.rebuild();
  await bundle.dispose();
}
