"""The template of the page of the year; every value that it shows is escaped."""

from __future__ import annotations

__all__ = ["PAGE"]

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2129;--soft:#5f6875;--line:#e3e5e9;--now:#1f6feb;--now-soft:#1f6feb2e;--est:#9a5b00;--est-soft:#d989162b;
--drift:#b45309;--drift-soft:#fef3e2;--fault:#b42318;--fault-soft:#fdecea;--undecided:#475467;--undecided-soft:#eef0f3;--calm:#1a7f4b;--calm-soft:#e7f6ed;
--bar:#8b96a5;--heat:217 119 6;--hatch:#e9ebee}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1c1f25;--ink:#e6e8ec;--soft:#9aa3b0;--line:#2e333c;--now:#6aa8ff;--now-soft:#6aa8ff38;--est:#f0b35a;--est-soft:#f0b35a2b;
--drift:#f5b25c;--drift-soft:#3a2b14;--fault:#ff8b80;--fault-soft:#3f1d1a;--undecided:#b4bcc8;--undecided-soft:#2a2e36;--calm:#6fd39b;--calm-soft:#17331f;
--bar:#7d8796;--heat:214 106 10;--hatch:#262a31}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.45rem;margin:.2rem 0 .3rem;display:flex;gap:.3rem .7rem;align-items:center;flex-wrap:wrap;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .5rem}h3{font-size:.95rem;margin:0;font-weight:600}
a{color:var(--now)}p{margin:.3rem 0}.soft{color:var(--soft)}.small{font-size:.85rem}
.pill{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.8rem;font-weight:600;white-space:nowrap}
.drift,.held{color:var(--drift);background:var(--drift-soft)}.fault,.refused{color:var(--fault);background:var(--fault-soft)}
.page{color:var(--fault);background:var(--fault-soft)}.ticket{color:var(--drift);background:var(--drift-soft)}.log{color:var(--undecided);background:var(--undecided-soft)}
.undecided,.no{color:var(--undecided);background:var(--undecided-soft)}.no-drift,.yes,.calm{color:var(--calm);background:var(--calm-soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.7rem;margin:.9rem 0}
.tile,figure{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.tile{padding:.6rem .8rem}.tile b{display:block;font-size:1.25rem;line-height:1.3;overflow-wrap:anywhere}
.alarms{margin:.6rem 0;padding:.6rem .8rem .6rem 2rem;border-radius:.6rem;color:var(--fault);background:var(--fault-soft)}.alarms li,.findings li{overflow-wrap:anywhere}.findings{margin:.3rem 0;padding-left:1.2rem}
figure{margin:.7rem 0;padding:.7rem .8rem .5rem}figure .soft{margin-top:.1rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:.7rem}.pair figure{margin:0}
svg{display:block;width:100%;height:auto;margin:.3rem 0 0}svg text{fill:var(--soft);font-size:12.5px}svg .name{fill:var(--ink);font-weight:600;font-size:12px}
.narrow{display:none;max-width:34rem;margin-left:auto;margin-right:auto}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.limit{stroke:var(--fault);stroke-width:1.5;stroke-dasharray:8 3 2 3}
.takeover{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 3}svg .takeover-text{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
.realised .band{fill:var(--now-soft)}.realised .line{stroke:var(--now)}.realised .mark{fill:var(--now)}
.estimated .band{fill:var(--est-soft);stroke:var(--est);stroke-width:.8;stroke-dasharray:2 3}.estimated .line{stroke:var(--est);stroke-dasharray:6 4}
.estimated .mark{fill:var(--card);stroke:var(--est);stroke-width:2}.line{fill:none;stroke-width:2.5;stroke-linejoin:round}.bar{fill:var(--bar)}
.overlay .reference{fill:var(--bar);opacity:.4}.overlay .earlier{fill:none;stroke:var(--soft);opacity:.45}.overlay .newest{fill:none;stroke:var(--now);stroke-width:2.5}
.legend .n{background:linear-gradient(var(--now),var(--now)) 0 50%/100% 2.5px no-repeat}.legend .f{background:var(--bar);opacity:.4}.legend .a{background:linear-gradient(var(--soft),var(--soft)) 0 50%/100% 1px no-repeat}
.legend{display:flex;gap:.2rem 1rem;flex-wrap:wrap;align-items:center}.legend i{display:inline-block;width:1.1rem;height:.9rem;border-radius:.2rem;margin-right:.35rem;vertical-align:-.12rem;box-shadow:inset 0 0 0 1px var(--line)}
.legend .r{background:linear-gradient(var(--now),var(--now)) 0 50%/100% 2.5px no-repeat,var(--now-soft)}
.legend .e{background:linear-gradient(90deg,var(--est) 60%,transparent 0) 0 50%/.45rem 2.5px repeat-x,var(--est-soft)}
.legend .l{background:linear-gradient(90deg,var(--fault) 60%,transparent 0) 0 50%/.55rem 2px repeat-x}.legend .l,.legend .t{box-shadow:none}.legend .t{width:0;border-left:2px dashed var(--ink);border-radius:0}
.scroll{position:relative;overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:500;font-size:.82rem}tbody tr:last-child>*{border-bottom:0}
th:first-child,td:first-child,.left{text-align:left}td.reason{white-space:normal;text-align:left;overflow-wrap:anywhere;width:99%}tbody th{color:var(--ink);font-size:inherit}
td.broken{color:var(--fault);font-weight:600}
.heat{table-layout:auto}.heat th,.heat td{padding:.28rem .35rem;text-align:center;border-bottom:1px solid var(--card);border-left:2px solid var(--card)}
.heat thead th{vertical-align:top}.heat th:first-child{position:sticky;left:0;background:var(--card);text-align:left;min-width:11rem;max-width:13rem;overflow-wrap:anywhere;white-space:normal;border-left:0}
.heat td{font-size:.82rem;min-width:2.1rem}.heat .mark{font-weight:700}
.h0{background:rgb(var(--heat)/.05)}.h1{background:rgb(var(--heat)/.16)}.h2{background:rgb(var(--heat)/.34)}.h3{background:rgb(var(--heat)/.52)}.h4{background:rgb(var(--heat)/.72)}
.heat .v-fault{color:var(--fault);background:var(--fault-soft);box-shadow:inset 0 0 0 2px var(--fault);font-weight:700}
.gap{background:repeating-linear-gradient(135deg,var(--hatch) 0 4px,transparent 4px 8px);color:var(--soft)}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
summary{cursor:pointer;color:var(--soft);margin:.6rem 0}
@media(max-width:44rem){.wide{display:none}.narrow{display:block}}
@media(max-width:34rem){main{padding:1rem .75rem 2.5rem}th,td{padding:.35rem .4rem;font-size:.86rem}figure{padding:.6rem .5rem .4rem}.tiles{grid-template-columns:1fr 1fr}.tile:last-child:nth-child(odd){grid-column:1/-1}.tile{padding:.5rem .6rem}
.tile b{font-size:1.1rem}.heat th,.heat td{padding:.25rem .15rem}.heat th{font-size:.78rem}.heat th:first-child{min-width:5.8rem;max-width:7.6rem;font-size:.78rem}.heat td{font-size:.75rem;min-width:1.35rem}.many .number{display:none}
.words thead{display:none}.words tr{display:flex;flex-wrap:wrap;gap:.25rem .6rem;align-items:center;padding:.6rem .7rem;border-bottom:1px solid var(--line)}
.words tr:last-child{border-bottom:0}.words th,.words td{display:block;padding:0;border:0;width:auto}.words td.reason{flex-basis:100%;width:100%}.words tbody th{font-weight:600}}
"""

_MACROS = """
{% macro axes(picture, what, kind) %}
{% set box = picture.box %}
{% for tick in picture.values %}
<line class="grid" x1="{{ box.left }}" x2="{{ box.right }}" y1="{{ tick.at|px }}" y2="{{ tick.at|px }}"/>
<text x="{{ box.left - 8 }}" y="{{ (tick.at + 4)|px }}" text-anchor="end">{{ tick.text }}</text>
{% endfor %}
<line class="axis" x1="{{ box.left }}" x2="{{ box.right }}" y1="{{ box.bottom|px }}" y2="{{ box.bottom|px }}"/>
{% for tick in picture.months %}
<text x="{{ tick.at|px }}" y="{{ (box.bottom + 17)|px }}" text-anchor="middle">{{ tick.text }}</text>
{% if tick.year %}<text x="{{ tick.at|px }}" y="{{ (box.bottom + 33)|px }}" text-anchor="middle">{{ tick.year }}</text>{% endif %}
{% endfor %}
<text class="name" x="2" y="13">{{ what }}</text>
<text class="name" x="2" y="{{ (box.bottom + 17)|px }}">{{ kind }}</text>
{% endmacro %}
{% macro chart(picture, label, what, kind, extra) %}
<svg class="{{ extra }}" viewBox="0 0 {{ picture.box.width|px }} {{ picture.box.height|px }}" role="img" aria-label="{{ label }}">
{{ axes(picture, what, kind) }}
{% for series in picture.series %}
<g class="{{ series.kind }}"><path class="band" d="{{ series.band }}"/>{% if series.line %}<path class="line" d="{{ series.line }}"/>{% endif %}
{% for mark in series.marks %}
{% if series.kind == 'realised' %}<circle class="mark" cx="{{ mark.x|px }}" cy="{{ mark.y|px }}" r="4.5"><title>{{ mark.text }}</title></circle>
{% else %}<rect class="mark" x="{{ (mark.x - 3.5)|px }}" y="{{ (mark.y - 3.5)|px }}" width="7" height="7"><title>{{ mark.text }}</title></rect>{% endif %}
{% endfor %}</g>
{% endfor %}
{% for y, text in picture.limits %}
<line class="limit" x1="{{ picture.box.left }}" x2="{{ picture.box.right }}" y1="{{ y|px }}" y2="{{ y|px }}"><title>{{ text }}</title></line>
{% endfor %}
{% for move in picture.takeovers %}
<line class="takeover" x1="{{ move.at|px }}" x2="{{ move.at|px }}" y1="{{ picture.box.top - 8 }}" y2="{{ picture.box.bottom|px }}"/>
<text class="takeover-text" x="{{ move.at|px }}" y="{{ picture.box.top - 13 }}" text-anchor="{{ 'end' if move.at > picture.box.right - 12 else 'middle' }}">{{ move.text }}</text>
{% endfor %}
</svg>
{% endmacro %}
{% macro columns(picture, label, what, kind) %}
<svg viewBox="0 0 {{ picture.box.width|px }} {{ picture.box.height|px }}" role="img" aria-label="{{ label }}">
{{ axes(picture, what, kind) }}
{% for bar in picture.bars %}
<rect class="bar" x="{{ (bar.x - picture.thickness / 2)|px }}" y="{{ bar.y|px }}" width="{{ picture.thickness|px }}" height="{{ (picture.box.bottom - bar.y)|px }}" rx="2"><title>{{ bar.text }}</title></rect>
{% endfor %}
</svg>
{% endmacro %}
{% macro overlaid(picture, label) %}
<svg class="overlay" viewBox="0 0 {{ picture.box.width|px }} {{ picture.box.height|px }}" role="img" aria-label="{{ label }}">
{{ axes(picture, 'share', 'value') }}
<path class="reference" d="{{ picture.reference }}"/>
{% for path, window in picture.earlier %}<path class="earlier" d="{{ path }}"><title>{{ window }}</title></path>{% endfor %}
<path class="newest" d="{{ picture.newest }}"/>
</svg>
{% endmacro %}
{% macro range(figure) %}
{% if figure is none %}–{% else %}{{ figure.value|four }}{% if figure.lower is not none %} <span class="soft small">{{ figure.lower|four }}–{{ figure.upper|four }}</span>{% endif %}{% endif %}
{% endmacro %}
"""

_TOP = """
<h1>{{ title }} <span class="pill {{ 'fault' if year.alarms else 'calm' }}">{% if year.alarms %}▲ {{ year.alarms|length }} open alarm{{ 's' if year.alarms|length > 1 }}{% else %}
✓ no open alarm{% endif %}</span></h1>
<p class="soft">model {{ year.model }}, slot {{ year.slot }}{% if year.as_of %}, as of {{ year.as_of|day }}{% endif %}{% if year.earlier %} · {{ year.earlier }} earlier windows are left out{% endif %}</p>
<div class="tiles">{% for tile in tiles %}<div class="tile"><span class="soft small">{{ tile.what }}</span><b>{{ tile.value }}</b><span class="soft small">{{ tile.more }}</span></div>{% endfor %}</div>
{% if year.alarms %}<ul class="alarms">{% for alarm in year.alarms %}<li>{{ alarm }}</li>{% endfor %}</ul>{% endif %}
"""

_PERFORMANCE = """
<h2 id="performance">Performance</h2>
{% if panels %}
{% for panel in panels if panel.main %}
<figure><h3>{{ panel.title }}</h3><p class="soft small">{{ panel.meaning }}</p>
{{ chart(panel.wide, panel.label, panel.axis, kind, 'wide') }}{{ chart(panel.narrow, panel.label, panel.axis, kind, 'narrow') }}
<p class="legend small soft"><span><i class="r"></i>realised, with its interval</span><span><i class="e"></i>estimated without truth, with its interval</span>
{% for _, text in panel.wide.limits %}<span><i class="l"></i>{{ text }}</span>{% endfor %}{% if panel.wide.takeovers %}<span><i class="t"></i>a new champion took over</span>{% endif %}</p></figure>
{% endfor %}
<div class="pair">{% for panel in panels if not panel.main %}
<figure><h3>{{ panel.title }}</h3><p class="soft small">{{ panel.meaning }}{% for _, text in panel.narrow.limits %} The red line is the {{ text }}.{% endfor %}</p>{{ chart(panel.narrow, panel.label, panel.axis, kind, '') }}</figure>
{% endfor %}</div>
<details><summary>The numbers</summary><div class="scroll"><table id="figures"><thead><tr><th scope="col">{{ kind }}</th><th scope="col">truth known</th>
{% for name in metrics %}<th scope="col">{{ name }}</th><th scope="col">estimated</th>{% endfor %}</tr></thead><tbody>
{% for row in figures %}
<tr><th scope="row">{{ row.window }}</th><td>{{ row.known }}</td>{% for pair in row.pairs %}<td{% if pair.broken %} class="broken" title="{{ pair.broken }}"{% endif %}>{{ range(pair.realised) }}</td>
<td>{{ range(pair.estimated) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></details>
{% if findings %}<h3>What is odd in the truth</h3><ul class="findings small">{% for text in findings %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
{% else %}<p class="soft">No {{ kind }} is monitored yet, so there is nothing to draw.</p>{% endif %}
"""

_DRIFT = """
<h2 id="drift">Drift</h2>
{% if heat %}
<p class="soft small">Columns × {{ kind }}s. The number is the effect as a multiple of its threshold, against the training set of the model that scored the {{ kind }}; columns that drift most often come first.</p>
<div class="scroll"><table id="heat" class="heat{{ ' many' if calendar|length > 6 }}"><caption class="hidden">Drift by column and {{ kind }}</caption>
<thead><tr><th scope="col">column</th>{% for window, brief, within in heads %}<th scope="col"><span aria-hidden="true">{{ brief }}{% if within %}<br>{{ within }}{% endif %}</span><span class="hidden">{{ window }}</span></th>{% endfor %}</tr></thead><tbody>
{% for row in heat %}
<tr><th scope="row">{{ row.name|breakable }}</th>{% for cell in row.cells %}
<td class="{{ cell.style }}" title="{{ cell.text }}">{% if cell.number %}<span class="number">{{ cell.number }}</span> {% endif %}<span class="mark" aria-hidden="true">{{ cell.mark }}</span><span class="hidden">{{ cell.verdict }}</span></td>
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="legend small soft"><span>● drift</span><span>▲ fault: type or missing share breaks the contract</span><span>? undecided</span><span><i class="gap"></i>not measured</span>
<span>effect / threshold:</span>{% for style, words in steps %}<span><i class="{{ style }}"></i>{{ words }}</span>{% endfor %}</p>
{% else %}<p class="soft">No drift is measured yet.</p>{% endif %}
{% if overlays %}
<h3 style="margin-top:1.2rem">Values of the columns that drift most</h3>
<p class="legend small soft"><span><i class="f"></i>the reference</span><span><i class="a"></i>earlier {{ kind }}s</span><span><i class="n"></i>{{ overlays[0].newest }}</span></p>
<div class="pair">{% for item in overlays %}<figure><h3>{{ item.title|breakable }}</h3>{{ overlaid(item.picture, item.label) }}</figure>{% endfor %}</div>
{% endif %}
"""

_ALERTS = """
{% if alerts %}
<h2 id="alerts">Alerts</h2>
<div class="scroll"><table class="words" id="rung"><thead><tr><th scope="col">policy</th><th scope="col" class="left">state</th><th scope="col" class="left">opened</th>
<th scope="col" class="left">found, and whom to ask</th></tr></thead><tbody>
{% for row in alerts %}
<tr><th scope="row">{{ row.policy }}{% if row.subject %}<br><span class="soft small">{{ row.subject }}</span>{% endif %}</th><td class="left"><span class="pill {{ row.severity }}">{{ row.severity }}</span>
<span class="pill {{ 'calm' if row.state == 'resolved' else 'fault' if row.state == 'open' else 'undecided' }}">{{ row.state }}</span>{% if row.verdict %} <span class="soft small">{{ row.verdict }}</span>{% endif %}</td>
<td class="left">{{ row.window }}{% if row.resolved %} to {{ row.resolved }}{% endif %}{% if row.episodes > 1 %} <span class="soft small">{{ row.episodes }} times</span>{% endif %}</td>
<td class="reason">{{ row.said }} <span class="soft small">{{ row.owner }}{% if row.runbook.startswith(('https://', 'http://')) %}, <a href="{{ row.runbook }}">runbook</a>{% endif %}</span></td></tr>
{% endfor %}</tbody></table></div>
{% endif %}
"""

_DECISIONS = """
<h2 id="decisions">Decisions</h2>
{% if decisions %}
<div class="scroll"><table class="words" id="decided"><thead><tr><th scope="col">{{ kind }}</th><th scope="col" class="left">new model?</th><th scope="col" class="left">trigger</th>
<th scope="col" class="left">reason</th><th scope="col" class="left">outcome</th></tr></thead><tbody>
{% for row in decisions %}
<tr><th scope="row">{{ row.window }}</th><td class="left"><span class="pill {{ row.style }}">{{ row.answer }}</span></td><td class="left">{{ row.trigger }}</td><td class="reason">{{ row.reason }}</td>
<td class="left">{% if row.outcome %}<span class="pill {{ row.outcome_style }}">{{ row.outcome }}</span>{% endif %}</td></tr>
{% endfor %}</tbody></table></div>
{% else %}<p class="soft">Nothing is decided yet.</p>{% endif %}
<h2 id="versions">Versions</h2>
<div class="scroll"><table class="words"><thead><tr><th scope="col">version</th><th scope="col" class="left">what became of it</th><th scope="col" class="left">windows</th></tr></thead><tbody>
{% for row in versions %}
<tr><th scope="row">v{{ row.version }}</th><td class="reason">{% if row.champion %}<span class="pill calm">champion now</span> {% endif %}{{ row.fate }}</td><td class="left">{{ row.scored }}</td></tr>
{% endfor %}</tbody></table></div>
"""

_ROWS = """
<h2 id="rows">Rows and quarantine</h2>
<div class="pair"><figure><h3>Rows scored</h3>{{ columns(rows_picture, rows_label, 'rows', kind) }}</figure>
<figure><h3>Rows in quarantine</h3>{{ columns(quarantine_picture, quarantine_label, '% of rows', kind) }}</figure></div>
<div class="scroll" style="margin-top:.7rem"><table id="counts"><thead><tr><th scope="col">{{ kind }}</th><th scope="col">champion</th><th scope="col">rows</th><th scope="col">quarantined</th><th scope="col">share</th></tr></thead><tbody>
{% for month in calendar %}
<tr><th scope="row">{{ month.window }}</th>{% if month.rows is none %}<td colspan="4" class="gap">not scored</td>{% else %}<td>v{{ month.model_version }}</td><td>{{ '{:,}'.format(month.rows) }}</td>
<td>{{ '{:,}'.format(month.quarantined) }}</td><td>{{ (month.quarantined / month.total if month.total else 0.0)|share }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
"""

PAGE = (
    _MACROS
    + """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ title }}</title><style>"""
    + _STYLE
    + """</style></head><body><main>"""
    + _TOP
    + _PERFORMANCE
    + _DRIFT
    + _ALERTS
    + _DECISIONS
    + _ROWS
    + """</main></body></html>
"""
)
