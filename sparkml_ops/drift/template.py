"""The page's template; every value that it shows is escaped."""

from __future__ import annotations

__all__ = ["PAGE"]

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2129;--soft:#626b78;--line:#e3e5e9;--ref:#aab3c0;--ref-soft:#aab3c066;--now:#1f6feb;
--drift:#b45309;--drift-soft:#fef3e2;--fault:#b42318;--fault-soft:#fdecea;--undecided:#475467;--undecided-soft:#eef0f3;--calm:#1a7f4b;--calm-soft:#e7f6ed}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1c1f25;--ink:#e6e8ec;--soft:#9aa3b0;--line:#2e333c;--ref:#717b8a;--ref-soft:#717b8a66;--now:#6aa8ff;
--drift:#f5b25c;--drift-soft:#3a2b14;--fault:#ff8b80;--fault-soft:#3f1d1a;--undecided:#b4bcc8;--undecided-soft:#2a2e36;--calm:#6fd39b;--calm-soft:#17331f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.45rem;margin:.2rem 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}h3{font-size:1rem;margin:0;display:flex;gap:.6rem;align-items:center;flex-wrap:wrap;overflow-wrap:anywhere}
p{margin:.3rem 0}.soft{color:var(--soft)}.small{font-size:.85rem;font-weight:400}
.pill{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.8rem;font-weight:600;white-space:nowrap}
.drift{color:var(--drift);background:var(--drift-soft)}.fault{color:var(--fault);background:var(--fault-soft)}
.undecided{color:var(--undecided);background:var(--undecided-soft)}.no-drift{color:var(--calm);background:var(--calm-soft)}
.verdicts{display:flex;gap:.5rem;flex-wrap:wrap;margin:.7rem 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:500;font-size:.82rem}tr:last-child td{border-bottom:0}
th:first-child,td:first-child,.left{text-align:left}td.name{overflow-wrap:anywhere;white-space:normal;min-width:7rem}.strong{font-weight:600;color:var(--fault)}
a{color:inherit;text-decoration-color:var(--ref)}
.meter{display:inline-block;width:4rem;height:.45rem;border-radius:.3rem;background:var(--line);margin-right:.5rem;position:relative;vertical-align:middle}
.meter i{position:absolute;inset:0 auto 0 0;border-radius:.3rem;background:var(--soft)}.meter b{position:absolute;left:33.3%;top:-.15rem;bottom:-.15rem;width:2px;background:var(--ink)}
.meter.drift i,.meter.fault i{background:currentColor}.meter.drift,.meter.fault{background:var(--line)}
article{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1rem;margin:.8rem 0;scroll-margin-top:.5rem}
article .scroll{border-radius:.4rem;margin-top:.5rem}
svg{display:block;width:100%;height:auto;margin:.6rem 0 .2rem}svg text{fill:var(--soft);font-size:15px}
.area{fill:var(--ref-soft);stroke:var(--ref);stroke-width:1.5}.now{fill:none;stroke:var(--now);stroke-width:2.5;stroke-linejoin:round}.axis{stroke:var(--line)}
.legend{display:flex;gap:1rem;flex-wrap:wrap;margin-top:.5rem}.legend span::before{content:"";display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.35rem;vertical-align:-.08rem}
.legend .r::before{background:var(--ref)}.legend .c::before{background:var(--now)}
.bars{display:grid;grid-template-columns:minmax(4rem,max-content) 1fr max-content;gap:.35rem .7rem;align-items:center;margin:.6rem 0}
.bars .label{overflow-wrap:anywhere;max-width:11rem}.bars i{display:block;height:.5rem;border-radius:.2rem;min-width:1px}
.bars .r{background:var(--ref)}.bars .c{background:var(--now);margin-top:2px}
.bars .values{font-size:.82rem;color:var(--soft);text-align:right;font-variant-numeric:tabular-nums}
a.jump{color:var(--soft)}summary{cursor:pointer;color:var(--soft);margin-top:.6rem}
@media(max-width:34rem){th,td{padding:.35rem .4rem;font-size:.88rem}article{padding:.8rem .7rem}.meter{display:none}svg text{font-size:22px}.wide{display:none}}
"""

_ROWS = """
{% macro pill(verdict) %}<span class="pill {{ verdict|replace(' ', '-') }}">{{ verdict }}</span>{% endmacro %}
{% macro missing(row) %}{{ row.missing_before|share }}{% if row.missing_before != row.missing %} → {{ row.missing|share }}{% endif %}{% endmacro %}
{% macro table(rows, segmented) %}
<div class="scroll"><table>
<thead><tr>{% if segmented %}<th>segment</th>{% endif %}<th class="left">column</th><th class="left">verdict</th><th>effect</th><th class="wide">PSI</th><th>missing</th>
<th class="wide">rows</th></tr></thead><tbody>
{% for row in rows %}
<tr>{% if segmented %}<td>{{ row.segment }}</td><td class="left">{{ row.name }}</td>{% else %}<td class="name"><a href="#{{ row.anchor }}">{{ row.name }}</a></td>{% endif %}
<td class="left">{{ pill(row.verdict) }}</td>
<td>{% if row.effect is none %}–{% else %}{% if row.judged %}<span class="meter {{ row.verdict|replace(' ', '-') }}" title="the mark is the threshold">
<i style="width:{{ '%.0f'|format(row.effect_share * 100) }}%"></i><b></b></span>{% endif %}<span class="soft">{{ row.effect_name }}</span> {{ row.effect|short }}{% endif %}</td>
<td class="wide">{{ row.psi|short }}</td>
<td{% if row.verdict == 'fault' %} class="strong"{% endif %}>{{ missing(row) }}</td>
<td class="wide">{{ row.n|whole }} / {{ row.m|whole }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
"""

_CARD = """
<article id="{{ card.anchor }}">
<h3>{{ card.name }} {{ pill(card.verdict) }} <span class="soft small">{{ card.type }}</span></h3>
{% if card.curves %}
<svg viewBox="-12 0 {{ width + 24 }} {{ height + 30 }}" role="img" aria-label="Distribution of {{ card.name }} in the reference and now">
<path class="area" d="{{ card.curves.reference }}"/><path class="now" d="{{ card.curves.current }}"/>
<line class="axis" x1="0" y1="{{ height }}" x2="{{ width }}" y2="{{ height }}"/>
{% for tick in card.curves.ticks %}<text x="{{ '%.1f'|format(tick.x) }}" y="{{ height + 22 }}" text-anchor="{{ tick.anchor }}">{{ tick.text }}</text>{% endfor %}
</svg>
{% elif card.bars %}
<div class="bars">
{% for bar in card.bars %}
<span class="label">{{ bar.label }}</span>
<span title="reference {{ bar.reference|share }}, now {{ bar.current|share }}"><i class="r" style="width:{{ '%.2f'|format(bar.reference / bar.scale * 100) }}%"></i>
<i class="c" style="width:{{ '%.2f'|format(bar.current / bar.scale * 100) }}%"></i></span>
<span class="values">{{ bar.reference|share }} → {{ bar.current|share }}</span>
{% endfor %}
</div>
{% if card.more %}<p class="soft small">and {{ card.more }} more categories</p>{% endif %}
{% else %}<p class="soft">One side has no value, so there is nothing to compare.</p>{% endif %}
<p class="legend small soft"><span class="r">reference</span><span class="c">now</span>
missing {{ missing(card) }}
{% if card.curves and (card.curves.outside[0] > 0.0005 or card.curves.outside[1] > 0.0005) %} · not shown: {{ card.curves.outside[0]|share }} and
{{ card.curves.outside[1]|share }} of the values{% endif %}</p>
<div class="scroll"><table><thead><tr><th>statistic</th><th>value</th><th class="wide">guaranteed bounds</th><th>threshold</th><th class="wide">q</th><th class="left">verdict</th></tr></thead><tbody>
{% for word, measure, unit in card.measures %}
<tr><td>{{ word }}</td><td>{{ measure.value|short(unit) }}</td>
<td class="wide">{% if measure.lower == measure.upper %}exact{% else %}{{ measure.lower|short(unit) }} to {{ measure.upper|short(unit) }}{% endif %}</td>
<td>{% if measure.threshold is none %}–{% else %}{{ measure.threshold }}{% if word == 'Missing share' %} rise{% endif %}{% endif %}</td>
<td class="wide">{{ measure.q|short }}</td><td class="left">{% if measure.verdict %}{{ pill(measure.verdict) }}{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
{% if card.interval %}<p class="small soft">{{ card.confidence|share }} confidence interval of the Kolmogorov-Smirnov distance: {{ card.interval[0]|short }} to {{ card.interval[1]|short }}</p>{% endif %}
{% if card.bins %}
<details><summary>Bins and their counts</summary>
<div class="scroll"><table><thead><tr><th>bin</th><th class="wide">reference</th><th class="wide">now</th><th>share before</th><th>share now</th></tr></thead><tbody>
{% for row in card.bins.rows %}
<tr><td>{{ row.label }}</td><td class="wide">{{ row.reference|whole }}</td><td class="wide">{{ row.current|whole }}</td><td>{{ row.p|share }}</td><td>{{ row.q|share }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if card.bins.more %}<p class="soft small">and {{ card.bins.more }} more bins</p>{% endif %}
</details>
{% endif %}
</article>
"""

PAGE = (
    _ROWS
    + """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Drift: {{ report.current }}</title><style>"""
    + _STYLE
    + """</style></head><body><main>
<h1>Drift of {{ report.current }}</h1>
<p class="soft">against {{ report.reference }}{% if report.edges %} · edges {{ report.edges }}{% endif %}</p>
<div class="verdicts">{% for verdict, number in verdicts %}<span class="pill {{ verdict|replace(' ', '-') }}">{{ number }} {{ verdict }}</span>{% endfor %}
{% if segments %}<a class="jump small" href="#segments">and {{ segments|length }} in segments</a>{% endif %}</div>
{{ table(whole, false) }}
<p class="small soft">Effect: Kolmogorov-Smirnov distance (KS) of numbers, total variation (TV) of categories; the mark is the threshold. Rows: reference / now.
A verdict of drift needs an effect above its minimum and evidence that chance does not make it; undecided means that more rows would tell.</p>
<h2>Columns</h2>
{% for card in whole %}"""
    + _CARD
    + """{% endfor %}
{% if segments or quiet %}
<h2 id="segments">Segments</h2>
{% if segments %}{{ table(segments, true) }}{% else %}<p class="soft">No segment drifts.</p>{% endif %}
{% if quiet %}<details><summary>{{ quiet|length }} without drift</summary>{{ table(quiet, true) }}</details>{% endif %}
{% endif %}
</main></body></html>
"""
)
