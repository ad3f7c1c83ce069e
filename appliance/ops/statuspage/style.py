"""How the status page looks. One style sheet, in the page itself; nothing is fetched. Pure.

Without ``<``, ``>`` and ``&``, which would be escaped.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root { color-scheme: light dark;
  --ground: #f4f5f7; --card: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --track: #e3e7ec;
  --good: #1a7f37; --warn: #8a5a00; --bad: #b42318; --badground: #fdecea; --warnground: #fff6df; --life: #4f8ad6;
  --accent: #0b5cad; --onaccent: #ffffff; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0f1318; --card: #181e26; --ink: #e7ebf0; --soft: #9fabb8; --line: #2d3641; --track: #2a323d;
  --good: #56d364; --warn: #e3b341; --bad: #ff8a80; --badground: #3a1a1a; --warnground: #352a12; --life: #4f8ad6;
  --accent: #6cb0f5; --onaccent: #0f1318; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
main, header, footer { max-width: 72rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.25rem; display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0; }
h3 { font-size: .8rem; margin: 0 0 .4rem; color: var(--soft); font-weight: 600; }
p { margin: .3rem 0; }
a { color: var(--accent); }
.soft, .names, dt, figcaption { color: var(--soft); }
.small { font-size: .86rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.25rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tile, .card, .note { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.tile { padding: .6rem .8rem; }
.tile .value { display: block; font-size: 1.4rem; font-weight: 600; }
.card { padding: 1rem; margin: 0 0 1rem; }
.card.bad { border-left: .3rem solid var(--bad); }
.card.warn { border-left: .3rem solid var(--warn); }
.card.good { border-left: .3rem solid var(--good); }
.head { display: flex; flex-wrap: wrap; gap: .35rem .75rem; align-items: center; margin-bottom: .75rem; }
.head .names { flex: 1 1 12rem; }
.badge { font-size: .8rem; font-weight: 600; padding: .1rem .55rem; border-radius: 1rem; border: 1px solid; }
.badge.good, .state.good { color: var(--good); }
.badge.warn, .state.warn { color: var(--warn); }
.badge.bad, .state.bad { color: var(--bad); }
.trouble { background: var(--badground); border-radius: .4rem; padding: .5rem .75rem; margin: 0 0 .75rem; }
.warn .trouble { background: var(--warnground); }
.columns { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 1rem 2rem; }
.life { width: 100%; height: 1.5rem; display: block; overflow: visible; }
.life .track { fill: var(--track); }
.life .past { fill: var(--life); }
.life .over { fill: var(--bad); }
.life .renewal { fill: var(--ink); }
.life .now { fill: var(--card); stroke: var(--life); stroke-width: 3; }
.marks { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: .5rem; font-size: .82rem; margin: .25rem 0 .75rem; }
.marks div:nth-child(2) { text-align: center; }
.marks div:nth-child(3) { text-align: right; }
.marks b { display: block; font-weight: 600; }
.spark { width: 100%; height: 2rem; display: block; }
.spark rect { fill: var(--life); }
figure { margin: 0; }
figcaption { font-size: .82rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .75rem; margin: 0;
  font-size: .86rem; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th { text-align: left; color: var(--soft); font-weight: 600; padding: 0 .75rem .2rem 0; white-space: nowrap; }
td { border-top: 1px solid var(--line); padding: .3rem .75rem .3rem 0; vertical-align: top; }
.n { text-align: right; white-space: nowrap; }
details { margin-top: .75rem; }
summary { cursor: pointer; color: var(--accent); font-size: .86rem; padding: .35rem 0; }
ol { margin: .3rem 0; padding-left: 1.4rem; font-size: .86rem; }
form { display: inline; margin: 0; }
button { font: inherit; font-size: .86rem; padding: .4rem .8rem; border-radius: .4rem; border: 1px solid var(--accent);
  background: transparent; color: var(--accent); cursor: pointer; min-height: 2.4rem; }
button:hover { background: var(--accent); color: var(--onaccent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.bar { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 0 0 1rem; }
.note { padding: .6rem .9rem; margin: 0 0 1rem; }
footer { padding-bottom: 2rem; }
@media (max-width: 720px) {
  .columns { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  thead { position: absolute; left: -99rem; }
  tr { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .1rem .75rem; padding: .5rem 0;
    border-top: 1px solid var(--line); }
  td, td.n { border: 0; padding: 0; text-align: left; }
  td.wide { grid-column: 1 / -1; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--soft); }
}
"""

POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The page's Content-Security-Policy: this style, forms to us, and nothing else; no script at all."""
