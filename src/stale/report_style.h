// The style sheet of the HTML report.
#pragma once

namespace heddle::stale {

// Colours never stand alone: each verdict has a letter, and what is not as expected a ring.
inline constexpr char kStyle[] = R"css(
:root {
  color-scheme: light dark;
  --paper: #faf9f6; --card: #ffffff; --ink: #1d2126; --soft: #5c646e; --line: #dcd9d2;
  --row: #efece4; --accent: #24558a;
  --healthy: #d3eadb; --on-healthy: #20603b;
  --spurious: #c53030; --on-spurious: #ffffff;
  --lost: #e8a317; --on-lost: #2c1d00;
  --skipped: #ecebe7; --on-skipped: #6b6f75;
  --broken: #3d2b56; --on-broken: #ffffff;
  --cell: 0.9375rem; --gap: 1px; --between: 0.75rem;  /* All 60 columns within 1280 pixels. */
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1c2026; --ink: #e6e4df; --soft: #9aa3ad; --line: #333a43;
    --row: #232930; --accent: #8fbdf0;
    --healthy: #1f3d2d; --on-healthy: #86c9a0;
    --spurious: #e5534b; --on-spurious: #1a0403;
    --lost: #e3a52c; --on-lost: #231600;
    --skipped: #262b31; --on-skipped: #8d959e;
    --broken: #c3a6ee; --on-broken: #1d1030;
  }
}
@media (min-width: 90rem) {
  :root { --cell: 1.0625rem; --gap: 2px; --between: 0.875rem; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem; width: fit-content; min-width: min(100%, 60rem);
  max-width: 100%; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
header, section { margin: 0 0 2rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em; }
h2 { margin: 0 0 0.5rem; font-size: 1.125rem; }
.run { margin: 0.25rem 0 0; color: var(--soft); }
.end { margin: 1rem 0 0; padding: 0.625rem 1rem; border-left: 0.3rem solid; border-radius: 0.25rem;
       max-width: 60rem; overflow-wrap: anywhere; }
.end.good { background: var(--healthy); color: var(--on-healthy); border-color: var(--on-healthy); }
.end.bad { background: var(--spurious); color: var(--on-spurious); border-color: var(--ink); }
.bug { max-width: 46rem; font-size: 1.0625rem; }
body:has(.card:target) { padding-bottom: 20rem; }  /* What stays there must not cover the page. */
code { font-family: var(--mono); font-size: 0.9em; }

.stacks { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem;
          margin: 0; padding: 0; list-style: none; }
.stacks li { padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
             border-radius: 0.5rem; }
.stacks h2 { margin: 0; font-family: var(--mono); }
.stacks p { margin: 0.25rem 0 0; color: var(--soft); font-size: 0.875rem; line-height: 1.45; }
.stacks .remedy { min-height: 2.9em; }
.stacks .figure { display: flex; align-items: baseline; gap: 0.5rem; color: var(--ink); }
.stacks .figure b { font-size: 2.25rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.bar { display: flex; gap: 2px; height: 0.5rem; margin: 0.5rem 0; }
.bar span { border-radius: 2px; min-width: 2px; }

.legend { display: flex; flex-wrap: wrap; gap: 0.375rem 1.5rem; margin: 0 0 1rem; padding: 0;
          list-style: none; font-size: 0.875rem; }
.legend li { display: flex; align-items: center; gap: 0.5rem; }
.mark { display: grid; place-items: center; width: var(--cell); height: var(--cell);
        border-radius: 3px; font: 700 0.6875rem/1 var(--mono); text-decoration: none; }
.healthy { background: var(--healthy); color: var(--on-healthy); }
.spurious { background: var(--spurious); color: var(--on-spurious); }
.lost { background: var(--lost); color: var(--on-lost); }
.skipped { background: var(--skipped); color: var(--on-skipped); }
.broken { background: var(--broken); color: var(--on-broken); }
.mark.unexpected { outline: 2px solid var(--ink); outline-offset: 1px; }

.scroll { position: relative; z-index: 0; overflow: auto hidden; padding: 0 0.25rem 0.5rem 0; }
.matrix { border-collapse: separate; border-spacing: var(--gap);
          font-size: 0.75rem; line-height: 1.2; }
.matrix caption { text-align: left; color: var(--soft); font-size: 0.875rem; padding: 0 0 0.75rem; }
.matrix caption span { display: block; max-width: calc(100vw - 3.5rem); }
.matrix th { font-weight: 400; padding: 0; }
.matrix th[scope=colgroup] { padding: 0.25rem 0; font: 700 0.9375rem/1.3 var(--mono);
                             border-bottom: 2px solid var(--line); }
.matrix th[scope=col] { vertical-align: bottom; height: 10.5rem; }
.matrix th[scope=col] span { display: block; width: var(--cell); padding: 0.375rem 0;
                             writing-mode: vertical-rl; transform: rotate(180deg);
                             font-family: var(--mono); font-size: 0.6875rem; white-space: nowrap; }
.matrix th[scope=row] { position: sticky; left: 0; z-index: 2; padding: 0 0.75rem 0 0.25rem;
                        background: var(--paper); border-radius: 3px; text-align: right;
                        font-family: var(--mono); white-space: nowrap; }
.matrix td { position: relative; padding: 0; }
.matrix .first { border-left: var(--between) solid transparent; background-clip: padding-box; }
tbody tr:hover th[scope=row] { background: var(--row); font-weight: 700; }
td:hover::before, td:focus-within::before {
  content: ""; position: absolute; z-index: -1; inset: -100rem 0; background: var(--row); }
a.mark:hover, a.mark:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }

.card { display: none; position: fixed; z-index: 3; left: 50%; bottom: 1rem;
        transform: translateX(-50%); width: min(56rem, 100vw - 2rem); max-height: 18rem;
        overflow: auto; padding: 1rem 1.25rem; background: var(--card); color: var(--ink);
        border: 1px solid var(--line); border-radius: 0.5rem; box-shadow: 0 0.5rem 2rem #0004;
        font-size: 0.875rem; line-height: 1.45; pointer-events: none; }
.card:target { display: block; pointer-events: auto; }
td:hover > .card, td:focus-within > .card { display: block; z-index: 4; }
.card .what { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; margin: 0; }
.card .what b { font-family: var(--mono); }
.card dl, .names dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem;
                      margin: 0.625rem 0 0; }
.card dt, .names dt { color: var(--soft); }
.card dd, .names dd { margin: 0; overflow-wrap: anywhere; }
.names dt { font-family: var(--mono); font-size: 0.875rem; color: var(--ink); }
.names summary { cursor: pointer; color: var(--accent); }
.names h2 { margin: 1rem 0 0; }
.unlike { padding: 0 0.5rem; border: 2px solid; border-radius: 1rem; font-weight: 700; }
@media print {
  @page { size: A3 landscape; margin: 1cm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { padding: 0; width: auto; }
  .scroll { overflow: visible; }
  .card, .card:target { display: none; }
  section, .stacks li { break-inside: avoid; }
}
)css";

}  // namespace heddle::stale
