// Bundles each widget's page side into ../static. Run by `npm run build`; the result is committed.

import { copyFile, mkdir, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { trimUplot } from "./uplot-trim.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const exists = (path) =>
  stat(path).then(
    () => true,
    () => false,
  );
const STATIC = here("../static");
const LIMIT = 80_000; // bytes of one widget, JS and CSS together

await mkdir(STATIC, { recursive: true });
for (const name of ["dashboard", "picker", "cleaner"]) {
  if (!(await exists(here(`${name}.js`)))) continue;
  await bundle(name);
  await checkSize(name);
}
await copyFile(here("node_modules/uplot/LICENSE"), `${STATIC}/LICENSE.uplot.txt`);

/** One script and one style sheet; the style sheet is the widget's own file, or what its script imports. */
async function bundle(name) {
  const entries = [`${name}.js`];
  const imported = await build({ ...options(), entryPoints: [here(entries[0])], outdir: STATIC, metafile: true });
  const hasCss = Object.keys(imported.metafile.outputs).some((path) => path.endsWith(".css"));
  if (!hasCss && (await exists(here(`${name}.css`)))) {
    await build({ ...options(), entryPoints: [here(`${name}.css`)], outdir: STATIC });
  }
}

function options() {
  return {
    absWorkingDir: here("."), // what the bundle says must not depend on where the build was started
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022", "chrome111", "firefox113", "safari16.4"],
    charset: "utf8",
    legalComments: "inline",
    logLevel: "warning",
    plugins: [trimUplot],
  };
}

async function checkSize(name) {
  const sizes = await Promise.all(
    ["js", "css"].map(async (kind) => (await stat(`${STATIC}/${name}.${kind}`).catch(() => ({ size: 0 }))).size),
  );
  const total = sizes[0] + sizes[1];
  console.log(`${name}: ${sizes[0]} + ${sizes[1]} = ${total} bytes`);
  if (total > LIMIT)
    throw new Error(`${name} has ${total} bytes, and a widget may have ${LIMIT}: leave something out.`);
}
