// The style sheet of the report's page, and the few lines that sort its table of runs.
#pragma once

namespace minichilla {

inline constexpr const char* kReportStyle = R"css(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1d2129; font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { border-bottom: 1px solid #dfe3e8; margin-bottom: 1.5rem; padding-bottom: 1rem; }
.kicker { margin: 0 0 .4rem; color: #5b6577; font-size: .9rem; }
h1 { margin: 0; font-size: 1.35rem; line-height: 1.4; font-weight: 600; }
h2 { margin: 2.6rem 0 .5rem; font-size: 1.2rem; }
h3 { margin: 1.4rem 0 .3rem; font-size: 1rem; }
p { margin: .5rem 0; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: #5b6577; font-weight: 600; border-bottom: 2px solid #c9cfd8; vertical-align: bottom; }
th, td { padding: .32rem .5rem; }
th:first-child, td:first-child { padding-left: 0; white-space: nowrap; }
td { border-bottom: 1px solid #eceff3; vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; }
sup, sub { line-height: 0; font-size: .72em; }
th.n { white-space: normal; }
td.refused, p.refused { color: #8a4b08; }
.i { color: #6b7484; font-size: .88em; font-weight: 400; white-space: nowrap; }
.sortable { font-size: .8rem; }
.sortable th { cursor: pointer; }
.sortable th:hover { color: #1d2129; }
.sortable th[aria-sort=ascending]::after { content: " \2191"; }
.sortable th[aria-sort=descending]::after { content: " \2193"; }
code { white-space: nowrap; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85em; }
pre { background: #f6f7f9; padding: .8rem 1rem; overflow-x: auto; border-radius: 4px; }
figure { margin: 1.4rem 0 2.2rem; break-inside: avoid; }
figure svg { display: block; width: 100%; min-width: 640px; max-width: 960px; height: auto; }
figure svg text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
figcaption { color: #454d5a; font-size: .9rem; max-width: 46rem; margin-top: .4rem; }
.reasons { font-size: .85rem; color: #454d5a; }
.warning { background: #fff6e5; border-left: 4px solid #e0a030; padding: .5rem .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .9rem; }
dt { color: #5b6577; }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 640px) { main { padding: 1rem .9rem 3rem; } h1 { font-size: 1.2rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { main { max-width: none; padding: 0; } body { font-size: 11pt; } figure svg { min-width: 0; } .scroll { overflow: visible; } .sortable { font-size: 6.5pt; } tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
)css";

inline constexpr const char* kReportScript = R"js(
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const compare = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
    const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)));
    table.tBodies[0].append(...rows);
  }));
}
)js";

}  // namespace minichilla
