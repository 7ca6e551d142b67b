// Leaves out of uPlot what the dashboard never draws (dates, bars, steps, splines, joined tables, other axes,
// the looks of its legend): 13 KB of the bundle.

import { readFile } from "node:fs/promises";

// Each text must occur just as it stands: another version of uPlot fails the build rather than slip through half cut.
const NOTICE =
  "/*! uPlot 1.6.32, Copyright (c) 2025 Leon Sorokin, MIT licence: see LICENSE.uplot.txt; parts left out */\n";
const SCRIPT_CUTS = [
  [/^\/\*\*[\s\S]*?\(v1\.6\.32\)\n\*\/\n/, NOTICE],
  ["\tuPlot.join = join;", ""],
  ["\tuPlot.fmtDate = fmtDate;\n\tuPlot.tzDate  = tzDate;", ""],
  ["\t(paths.stepped = stepped);\n\t(paths.bars    = bars);\n\t(paths.spline  = monotoneCubic);", ""],
  ["const [ timeIncrsMs, _timeAxisStampsMs, timeAxisSplitsMs ] = genTimeStuffs(1);", ""],
  ["const [ timeIncrsS,  _timeAxisStampsS,  timeAxisSplitsS  ] = genTimeStuffs(1e-3);", ""],
  [/\tconst _timeAxisSplits = \(ms == 1.*\n\tconst _timeAxisVals .*\n\tconst _timeSeriesVal .*\n/, ""],
  [/s\.value = isTime \? .*? : sv \|\| numSeriesVal;/, "s.value = sv || numSeriesVal;"],
  ["(isTime ? (ms == 1 ? timeIncrsMs : timeIncrsS) : numIncrs)", "numIncrs"],
  ["isTime && sc.distr == 1 ? _timeAxisSplits : ", ""],
  ["sc.distr == 3 ? logAxisSplits : sc.distr == 4 ? asinhAxisSplits : ", ""],
  ["sc.distr >= 3 && sc.log == 10 ? log10AxisValsFilt : sc.distr == 3 && sc.log == 2 ? log2AxisValsFilt : ", ""],
  ["uPlot.rangeAsinh = rangeAsinh;", ""],
  ["uPlot.rangeLog = rangeLog;", ""],
  ["(sc.distr == 3 ? snapLogX : sc.distr == 4 ? snapAsinhX : snapNumX)", "snapNumX"],
  ["(sc.distr == 3 ? snapLogY : sc.distr == 4 ? snapAsinhY : snapNumY)", "snapNumY"],
  ["if (showLegend) {", "if (false) {"],
  ["if (showLegend) {", "if (false) {"],
  ["if (showLegend) {", "if (false) {"],
  [/\bmode == 1\b/g, "true"],
  [/\bmode == 2\b/g, "false"],
  ["const showLegend = legend.show;", "const showLegend = false;"],
  [/isTime \? \(\s*\/\/ config array[\s\S]*?\) : av \|\| numAxisVals/, "av || numAxisVals"],
  ["const _fmtDate = (opts.fmtDate || fmtDate);", ""],
  ["const FEAT_TIME          = true;", "const FEAT_TIME          = false;"],
];
const STYLE_CUTS = [
  [/^/, NOTICE],
  [/\.u-(title|legend|inline|series)[^{}]*\{[^}]*\}/g, ""],
];

export const trimUplot = {
  name: "trim-uplot",
  setup(build) {
    build.onLoad({ filter: /uPlot\.esm\.js$/ }, async ({ path }) => ({
      contents: await cut(path, SCRIPT_CUTS),
      loader: "js",
    }));
    build.onLoad({ filter: /uPlot\.min\.css$/ }, async ({ path }) => ({
      contents: await cut(path, STYLE_CUTS),
      loader: "css",
    }));
  },
};

async function cut(path, cuts) {
  let contents = await readFile(path, "utf8");
  for (const [text, instead] of cuts) {
    const less = contents.replace(text, instead);
    if (less === contents)
      throw new Error(`${path} no longer has ${text}: adapt uplot-trim.mjs to this version of uPlot.`);
    contents = less;
  }
  return contents;
}
