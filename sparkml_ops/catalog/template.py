"""The template of the catalog's page; every value that it shows is escaped."""

from __future__ import annotations

__all__ = ["PAGE"]

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2129;--soft:#5f6875;--line:#e3e5e9;--bar:#5b8def;--wire:#aab3c0;
--fault:#b42318;--fault-soft:#fdecea;--calm:#1a7f4b;--calm-soft:#e7f6ed;--plain:#475467;--plain-soft:#eef0f3;
--k0:#eef0f3;--k1:#e3ecfd;--k2:#fdf0d9;--k3:#f0e6fb;--k4:#e7f6ed}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1c1f25;--ink:#e6e8ec;--soft:#9aa3b0;--line:#2e333c;--bar:#6a9bf4;--wire:#5a6473;
--fault:#ff8b80;--fault-soft:#3f1d1a;--calm:#6fd39b;--calm-soft:#17331f;--plain:#b4bcc8;--plain-soft:#2a2e36;
--k0:#2a2e36;--k1:#1d2f4d;--k2:#3d3118;--k3:#33254a;--k4:#17331f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.45rem;margin:.2rem 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.4rem 0 .3rem;display:flex;gap:.3rem .6rem;align-items:center;flex-wrap:wrap;overflow-wrap:anywhere;scroll-margin-top:.5rem}
h3{font-size:.98rem;margin:0;font-weight:600;overflow-wrap:anywhere}
p{margin:.3rem 0}.soft{color:var(--soft)}.small{font-size:.85rem}a{color:inherit;text-decoration-color:var(--wire)}
.pill{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.78rem;font-weight:600;color:var(--plain);background:var(--plain-soft)}
.stale,.personal{color:var(--fault);background:var(--fault-soft)}.fresh{color:var(--calm);background:var(--calm-soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.7rem;margin:.9rem 0}
.tile{padding:.6rem .8rem}.tile b{display:block;font-size:1.25rem;line-height:1.3}
.tile,.scroll,article{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.scroll{position:relative;overflow-x:auto;padding:.4rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .7rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500;font-size:.82rem;white-space:nowrap}tbody th{color:var(--ink);font-size:inherit;white-space:normal;overflow-wrap:break-word;min-width:9rem}tbody tr:last-child>*{border-bottom:0}
td.number{text-align:right;white-space:nowrap}td.age{min-width:11rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .8rem;margin:.5rem 0 .8rem;font-size:.9rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,16.5rem),1fr));gap:.7rem}
article{padding:.7rem .8rem;display:flex;flex-direction:column;gap:.25rem;scroll-margin-top:.5rem;content-visibility:auto;contain-intrinsic-size:auto 12rem}
article p{margin:0;overflow-wrap:anywhere}.values{margin-top:auto;padding-top:.3rem}
svg{display:block}.map{min-width:60rem;width:100%;height:auto}.map text{fill:var(--ink);font-size:13px}.map .kind{fill:var(--soft);font-size:11px}
.map rect{stroke:var(--line)}.map path{fill:none;stroke:var(--wire);stroke-width:1.4}
.k-source rect{fill:var(--k0)}.k-feature-table rect{fill:var(--k1)}.k-training-set rect{fill:var(--k2)}.k-model rect{fill:var(--k3)}.k-predictions rect,.k-scoring-set rect{fill:var(--k4)}rect{fill:var(--k0)}
.bars{width:100%;height:4rem}.bars rect{fill:var(--bar)}.base{stroke:var(--line);stroke-width:1}
.ends{display:flex;justify-content:space-between;gap:.5rem;font-size:.78rem;color:var(--soft);font-variant-numeric:tabular-nums}
.shares{display:grid;grid-template-columns:minmax(3rem,max-content) 1fr max-content;gap:.2rem .5rem;align-items:center;font-size:.82rem}
.shares .label{overflow-wrap:anywhere;max-width:9rem}.shares i{display:block;height:.55rem;border-radius:.2rem;min-width:1px;background:var(--bar)}
@media(max-width:44rem){.lists thead{display:none}.lists tr{display:flex;flex-wrap:wrap;gap:.1rem .8rem;padding:.5rem .4rem;border-bottom:1px solid var(--line)}.lists tr:last-child{border-bottom:0}
.lists th,.lists td{display:block;border:0;padding:0}.lists tbody th,.lists .meaning{flex-basis:100%}.lists td[data-what]::before{content:attr(data-what) " ";color:var(--soft)}.lists td:empty{display:none}}
@media(max-width:34rem){main{padding:1rem .75rem 2.5rem}.tiles{grid-template-columns:1fr 1fr}dl{gap:.15rem .6rem}}
"""

_MACROS = """
{% macro users(found) %}
{% for kind, names in found.items() if names %}
{{ kind }}{{ 's' if names|length > 1 and kind != 'predictions' }} {{ names|newest }}{{ '; ' if not loop.last }}
{% else %}
nobody yet
{% endfor %}
{% endmacro %}
{% macro picture(feature, version) %}
{% set shown = feature.distribution %}
{% if feature.personal %}<p class="soft small">Personal data: its values are not shown.</p>
{% elif shown is none %}<p class="soft small">No distribution: of this type, or of this table, none was computed.</p>
{% elif not shown.bars %}<p class="soft small">No row has a value.</p>
{% elif shown.shape == 'categories' %}
<div class="shares" role="img" aria-label="{{ feature.name }}: {% for bar in shown.bars %}{{ bar.label }} {{ bar.share|share }}{{ ', ' if not loop.last }}{% endfor %}">
{% for bar in shown.bars %}<span class="label">{{ bar.label or '(empty)' }}</span><span><i style="width:{{ '%.1f'|format(bar.share / shown.bars[0].share * 100) }}%"></i></span><span class="soft">{{ bar.share|share }}</span>
{% endfor %}</div>
{% if shown.more %}<p class="soft small">and {{ '{:,}'.format(shown.more) }} more</p>{% endif %}
{% else %}
<svg class="bars" viewBox="0 0 {{ width|px }} {{ (height + 1)|px }}" preserveAspectRatio="none" role="img" aria-label="{{ feature.name }}: {{ shown.low }} to {{ shown.high }}{% if shown.mean is not none %}, mean {{ '%.4g'|format(shown.mean) }}{% endif %}">
<line class="base" x1="0" x2="{{ width|px }}" y1="{{ height|px }}" y2="{{ height|px }}"/>
{% for bar in shown|columns %}<rect x="{{ bar.x|px }}" y="{{ bar.y|px }}" width="{{ bar.width|px }}" height="{{ bar.height|px }}"><title>{{ bar.text }}</title></rect>{% endfor %}
</svg>
<div class="ends"><span>{{ shown.ends[0] }}</span>{% if shown.mean is not none %}<span>mean {{ '%.4g'|format(shown.mean) }}</span>{% endif %}<span>{{ shown.ends[1] }}</span></div>
{% endif %}
{% if shown is not none and not feature.personal %}<p class="soft small">missing {{ shown.missing|share }}{% if shown.outside > 0.0005 %} · all from {{ shown.low }} to {{ shown.high }}{% endif %}{% if shown.version != version %} · values of version {{ shown.version }}{% endif %}</p>{% endif %}
{% endmacro %}
"""

_MAP = """
<h2 id="lineage">What is made from what</h2>
<p class="soft small">From sources on the left to predictions on the right.</p>
<div class="scroll"><svg class="map" viewBox="0 0 {{ map.width|px }} {{ map.height|px }}" role="img" aria-label="{{ map.said }}">
{% for curve in map.curves %}<path d="{{ curve }}"/>
{% endfor %}
{% for box in map.boxes %}
<g class="k-{{ box.node.kind|replace(' ', '-') }}"><title>{{ box.node.kind }} {{ box.node.name }}</title><rect x="{{ box.x|px }}" y="{{ box.y|px }}" width="186" height="40" rx="7"/>
<text x="{{ (box.x + 10)|px }}" y="{{ (box.y + 17)|px }}">{{ box.text }}</text><text class="kind" x="{{ (box.x + 10)|px }}" y="{{ (box.y + 32)|px }}">{{ box.node.kind }}</text></g>
{% endfor %}
{% for x, y, words in map.more %}<text class="kind" x="{{ (x + 10)|px }}" y="{{ y|px }}">{{ words }}</text>
{% endfor %}
</svg></div>
"""

_LIST = """
<h2 id="tables">Tables</h2>
<div class="scroll"><table class="lists" id="list"><thead><tr><th scope="col">table</th><th scope="col">meaning</th><th scope="col">owner</th><th scope="col">features</th><th scope="col">rows</th>
<th scope="col">newest row</th></tr></thead><tbody>
{% for table in tables %}
<tr><th scope="row"><a href="#{{ table.name }}">{{ table.name|breakable }}</a></th><td class="meaning">{{ table.meaning }}</td><td>{{ table.owner or '' }}</td><td class="number" data-what="features">{{ table.features|length }}</td>
<td class="number" data-what="rows">{{ table.rows|whole }}</td><td class="age" data-what="newest">{{ table|age }}{% if table.stale %} <span class="pill stale">stale</span>{% endif %}</td></tr>
{% endfor %}</tbody></table></div>
"""

_TABLE = """
<section><h2 id="{{ table.name }}">{{ table.name }}
{% if table.stale %}<span class="pill stale">▲ stale</span>{% elif table.freshness is not none %}<span class="pill fresh">✓ fresh</span>{% endif %}
{% for tag in table.tags %}<span class="pill">{{ tag }}</span>{% endfor %}</h2>
{% if table.meaning %}<p>{{ table.meaning }}</p>{% endif %}
<dl>
<dt>owner</dt><dd>{{ table.owner or 'nobody' }}</dd>
{% if table.deprecated %}
<dt>deprecated</dt><dd data-what="deprecated">from {{ table.deprecated }} on: look its features up elsewhere</dd>
{% endif %}
<dt>entity</dt><dd>{{ table.keys|join(', ') }}</dd>
<dt>made</dt><dd>{{ table.made }}</dd>
<dt>event time</dt><dd>{{ table.event_time }}; known {{ table.known }}{% if table.ttl %}; a lookup takes no value older than {{ table.ttl }}{% endif %}</dd>
<dt>freshness</dt><dd>{{ table|age }}{% if table.freshness is not none %}; promised within {{ table.freshness|spoken }}{% else %}; nothing is promised{% endif %}</dd>
<dt>version</dt><dd>{% if table.version is none %}not built yet{% else %}{{ table.version }}, {{ table.rows|whole }} rows{% endif %}</dd>
<dt>used by</dt><dd>{{ users(table.users)|oneline }}</dd>
</dl>
<div class="cards">
{% for feature in table.features %}
<article id="{{ table.name }}.{{ feature.name }}"><h3>{{ feature.name|breakable }}{% if feature.personal %} <span class="pill personal">personal</span>{% endif %}</h3>
<p class="soft small">{{ feature.type }}{% if feature.unit %} · {{ feature.unit }}{% endif %}</p>
{% if feature.meaning %}<p>{{ feature.meaning }}</p>{% endif %}
<div class="values">{{ picture(feature, table.version) }}</div>
<p class="soft small">used by {{ users(feature.users)|oneline }}</p></article>
{% endfor %}
</div></section>
"""

PAGE = (
    _MACROS
    + """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ project }}: features</title><style>"""
    + _STYLE
    + """</style></head><body><main>
<h1>{{ project }}: features</h1>
<p class="soft">as of {{ as_of }}</p>
{% if tables %}
<div class="tiles">{% for what, number in tiles %}<div class="tile"><span class="soft small">{{ what }}</span><b>{{ number }}</b></div>{% endfor %}</div>
"""
    + _LIST
    + _MAP
    + """{% for table in tables %}"""
    + _TABLE
    + """{% endfor %}
{% else %}<p>No feature table is registered yet: <code>sparkml-ops build-features</code> does it.</p>{% endif %}
</main></body></html>
"""
)
