"""The templates of a model's card; every value that they show is escaped."""

from __future__ import annotations

__all__ = ["MARKDOWN", "PAGE"]

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2129;--soft:#5f6875;--line:#e3e5e9;--bar:#5b8def;
--fail:#b42318;--fail-soft:#fdecea;--pass:#1a7f4b;--pass-soft:#e7f6ed;--plain:#475467;--plain-soft:#eef0f3}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1c1f25;--ink:#e6e8ec;--soft:#9aa3b0;--line:#2e333c;--bar:#6a9bf4;
--fail:#ff8b80;--fail-soft:#3f1d1a;--pass:#6fd39b;--pass-soft:#17331f;--plain:#b4bcc8;--plain-soft:#2a2e36}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.45rem;margin:.2rem 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .5rem}h3{font-size:.98rem;margin:1.2rem 0 .4rem;overflow-wrap:anywhere}
p{margin:.3rem 0}.soft{color:var(--soft)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.35rem .9rem;margin:.5rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.pill{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.78rem;font-weight:600;white-space:nowrap;color:var(--plain);background:var(--plain-soft)}
.pass{color:var(--pass);background:var(--pass-soft)}.fail,.no-evidence{color:var(--fail);background:var(--fail-soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.7rem;margin:.9rem 0}
.tile{padding:.6rem .8rem;overflow-wrap:anywhere}.tile b{display:block;font-size:1.2rem;line-height:1.3}
.tile,.scroll{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.scroll{overflow-x:auto;padding:.4rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500;font-size:.82rem;white-space:nowrap}tbody tr:last-child>*{border-bottom:0}
td.number{text-align:right;white-space:nowrap}td.type{white-space:nowrap}
.bars{display:grid;grid-template-columns:minmax(4rem,max-content) 1fr max-content;gap:.25rem .6rem;align-items:center;font-size:.88rem}
.bars span:first-child,.bars .name{max-width:12rem;overflow-wrap:anywhere}.bars i{display:block;height:.7rem;border-radius:.2rem;min-width:1px;background:var(--bar)}
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:.1rem}dd{margin-bottom:.5rem}
.lists thead{display:none}.lists tr{display:block;padding:.45rem .3rem;border-bottom:1px solid var(--line)}.lists tr:last-child{border-bottom:0}
.lists td{display:block;border:0;padding:.05rem 0;text-align:left;white-space:normal}.lists td[data-what]::before{content:attr(data-what) " ";color:var(--soft)}.lists td:empty{display:none}
.bars .name{max-width:8rem}}
"""

PAGE = (
    """
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ card.version.name }} {{ card.version.version }}: model card</title>
<style>"""
    + _STYLE
    + """</style></head><body><main>
<h1>{{ card.version.name }}, version {{ card.version.version }}</h1>
{% if card.report is none %}<p><span class="pill">no gate report</span> Its gates never ran under this configuration.</p>
{% elif card.report.passed %}<p><span class="pill pass">gates passed</span></p>
{% else %}<p><span class="pill fail">gates refused</span></p>{% endif %}
<section id="said"><dl>
{% for title, text in card.sayings %}<dt>{{ title }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl></section>
<h2>On record</h2>
<dl>
{% for title, text in card.facts %}<dt>{{ title }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl>
{% if card.figures %}
<h2>Evaluation</h2>
<div class="tiles">
{% for name, value in card.figures %}<div class="tile"><b>{{ value }}</b><span class="soft">{{ name }}</span></div>
{% endfor %}</div>
{% endif %}
{% if card.report is not none %}
<h2>Gates</h2>
<div class="scroll"><table class="lists" id="gates"><thead><tr><th>gate</th><th>verdict</th><th>found</th></tr></thead><tbody>
{% for result in card.report.results %}<tr><td>{{ result.gate }}</td><td><span class="pill {{ result.verdict|plain }}">{{ result.verdict }}</span></td><td>{{ result.message }}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}
{% if card.slices %}
<h2>Slices</h2>
<div class="scroll"><table class="lists" id="slices"><thead><tr><th>slice</th><th>figures</th></tr></thead><tbody>
{% for cut, figures in card.slices %}<tr><td>{{ cut }}</td><td>{% for name, value in figures %}{{ name }} {{ value }}{{ ", " if not loop.last }}{% endfor %}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}
{% if card.explanation is not none %}
<h2>What predictions hang on</h2>
<p class="soft">On {{ card.explanation.rows }} evaluation rows. Importance is no cause: inputs that move together share it by chance.
{% if card.explanation.withheld %}Personal data, never read here: {{ card.explanation.withheld|join(", ") }}.{% endif %}</p>
{% for title, bars in card.bars %}
<h3>{{ title }}</h3>
<div class="bars">
{% for name, value, share in bars %}<span class="name">{{ name }}</span><i style="width:{{ share|percent }}"></i><span>{{ value }}</span>
{% endfor %}</div>
{% endfor %}
<p class="soft">Contributions of a row add up to its distance from the mean prediction, {{ "%.4g"|format(card.explanation.base) }}. LIME is a linear model around one row, as a second opinion.</p>
{% for title, inputs in card.rows %}
<h3>{{ title }}</h3>
<div class="scroll"><table class="lists"><thead><tr><th>input</th><th>value</th><th>SHAP</th><th>LIME</th></tr></thead><tbody>
{% for name, value, shap, lime in inputs %}<tr><td>{{ name }}</td><td data-what="value">{{ value }}</td><td class="number" data-what="SHAP">{{ shap }}</td>{% if lime %}<td class="number" data-what="LIME">{{ lime }}</td>{% else %}<td></td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}
{% endif %}
{% if card.inputs %}
<h2>Inputs</h2>
<div class="scroll"><table class="lists" id="inputs"><thead><tr><th>input</th><th>type</th><th>unit</th><th>learnt</th></tr></thead><tbody>
{% for name, type, unit, learnt in card.inputs %}<tr><td>{{ name }}</td><td class="type">{{ type }}</td><td data-what="in">{{ unit }}</td><td>{{ learnt }}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}
</main></body></html>
"""
)

MARKDOWN = """
# {{ card.version.name }}, version {{ card.version.version }}

{% if card.report is none %}No gate report under this configuration.
{% elif card.report.passed %}Gates passed.
{% else %}Gates refused.
{% endif %}

{% for title, text in card.sayings %}
- **{{ title }}**: {{ text|cell }}
{% endfor %}

## On record

{% for title, text in card.facts %}
- **{{ title }}**: {{ text|cell }}
{% endfor %}
{% if card.figures %}

## Evaluation

| figure | value |
|---|---|
{% for name, value in card.figures %}
| {{ name|cell }} | {{ value }} |
{% endfor %}
{% endif %}
{% if card.report is not none %}

## Gates

| gate | verdict | found |
|---|---|---|
{% for result in card.report.results %}
| {{ result.gate|cell }} | {{ result.verdict }} | {{ result.message|cell }} |
{% endfor %}
{% endif %}
{% if card.slices %}

## Slices

| slice | figures |
|---|---|
{% for cut, figures in card.slices %}
| {{ cut|cell }} | {% for name, value in figures %}{{ name|cell }} {{ value }}{{ ", " if not loop.last }}{% endfor %} |
{% endfor %}
{% endif %}
{% if card.explanation is not none %}

## What predictions hang on

On {{ card.explanation.rows }} evaluation rows.{% if card.explanation.withheld %} Personal data, never read here: {{ card.explanation.withheld|join(", ")|cell }}.{% endif %}


{% for title, bars in card.bars %}
### {{ title }}

| input | value |
|---|---|
{% for name, value, share in bars %}
| {{ name|cell }} | {{ value }} |
{% endfor %}

{% endfor %}
{% for title, inputs in card.rows %}
### {{ title }}

| input | value | SHAP | LIME |
|---|---|---|---|
{% for name, value, shap, lime in inputs %}
| {{ name|cell }} | {{ value|cell }} | {{ shap }} | {{ lime }} |
{% endfor %}

{% endfor %}
{% endif %}
{% if card.inputs %}

## Inputs

| input | type | unit | learnt |
|---|---|---|---|
{% for name, type, unit, learnt in card.inputs %}
| {{ name|cell }} | {{ type }} | {{ unit|cell }} | {{ learnt|cell }} |
{% endfor %}
{% endif %}
"""
