"""The report page's style sheet."""

_COLOURS = """
:root{--ink:#1c2330;--soft:#5b6576;--paper:#fff;--panel:#f5f6f9;--rule:#d9dde5;--main:#2f6fdb;--bad:#c2571a;
--alarm:#8a1c1c;--alarm-paper:#fdecec}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa5b8;--paper:#12161d;--panel:#1b212b;
--rule:#323b49;--main:#6ea3f7;--bad:#e08a4f;--alarm:#ffb4b4;--alarm-paper:#3a1a1c}}
"""
_TEXT = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .3rem}
small{color:var(--soft);white-space:nowrap;font-size:.82em}
.note{color:var(--soft);margin:.2rem 0 .8rem;max-width:52rem;font-size:.92rem;overflow-wrap:anywhere}
.warning{background:var(--alarm-paper);color:var(--alarm);border-left:5px solid currentColor;
padding:.7rem 1rem;margin:.5rem 0;font-weight:600}
.facts{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.25rem 1.2rem;
background:var(--panel);padding:1rem;border-radius:8px;margin:1rem 0 .5rem}
.facts dt{color:var(--soft);max-width:20rem}
.facts dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
details{margin:.4rem 0}
summary{cursor:pointer;color:var(--soft)}
"""
_TABLES = """
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
tbody th{font-weight:500;min-width:8.5rem}
td{overflow-wrap:anywhere}
td.count{color:var(--soft)}
.measures td{min-width:8.6rem;overflow-wrap:normal}
.measures td.count{min-width:0}
"""
_DRAWINGS = """
.interval{display:block;width:100%;max-width:13rem;height:12px;margin:.3rem 0 .1rem}
.track{fill:var(--rule)}.bar{fill:var(--main)}.bar.bad{fill:var(--bad)}
.whisker,.zero{fill:none;stroke:var(--ink);stroke-width:1.5;vector-effect:non-scaling-stroke}
.zero{opacity:.4}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:1.2rem}
figure{margin:0;background:var(--panel);border-radius:8px;padding:.8rem}
figcaption{color:var(--soft);font-size:.9rem}
.plot{width:100%;height:auto;display:block}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.tick,.axis{fill:var(--soft);font-size:11px;font-family:system-ui,sans-serif}
.line{fill:none;stroke:var(--main);stroke-width:2.2;stroke-linejoin:round}
.line.chance{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4}
"""
_NARROW = """
@media(max-width:700px){
.facts{grid-template-columns:1fr;gap:0}
.facts dd{margin-bottom:.5rem}
.measures thead{display:none}
.measures tr{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem;border-bottom:1px solid var(--rule);padding:.5rem 0}
.measures th,.measures td,.measures td.count{border:0;padding:.15rem 0;min-width:0}
.measures tbody th{grid-column:1/-1;font-weight:700}
.measures td::before{content:attr(data-name) " ";color:var(--soft);font-size:.82em;display:block}
small{white-space:normal}}
"""
STYLE = (_COLOURS + _TEXT + _TABLES + _DRAWINGS + _NARROW).replace("\n", "")
